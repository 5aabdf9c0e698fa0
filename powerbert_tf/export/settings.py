"""Flags for exports."""

import dataclasses

from powerbert_tf.common.flags import CheckedSettings, one_of, setting
from powerbert_tf.export.formats import DEFAULT_FORMAT, list_formats, parse_formats
from powerbert_tf.export.shapes import EXPORT_PRECISIONS, ServingShapes, resolve_shapes

EXPORT_MODELS = ("retrain", "elastic", "finetune")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportSettings(CheckedSettings):
    """Exports."""

    export_model: str = setting(
        "What is exported: retrain (the re-trained model), elastic (that stage's weights, with signatures for each "
        "of --target_speedups) or finetune (the dense model).",
        default="retrain",
        check=one_of(EXPORT_MODELS),
    )
    export_format: str = setting(f"What is exported, with commas between: {list_formats()}.", default=DEFAULT_FORMAT)
    export_jit_compile: bool = setting(
        "Exports a model that XLA compiles where it is served; inputs are filled up to few shapes.", default=False
    )
    export_lengths: str = setting(
        "Lengths that an exported model fills its inputs up to, such as 32,64,128. Default: none, each batch is padded "
        "to its longest; 16, 32, 64 and so on with --export_jit_compile or --export_batch_size.",
        default="",
    )
    export_batch_size: int = setting(
        "Examples that an exported model fills each batch up to, and at most takes: static shapes, as a TPU wants "
        "them; 0 for any batch.",
        default=0,
    )
    export_precision: str = setting(
        "Of an exported model: float32 or bfloat16.", default="float32", check=one_of(EXPORT_PRECISIONS)
    )
    export_int8: bool = setting(
        "Of onnx, openvino and litert: also with weights of 8 bits, which these runtimes multiply by activations "
        "rounded to 8 bits as they come.",
        default=False,
    )

    def __post_init__(self):
        super().__post_init__()
        _ = self.formats  # raises where it cannot be read

    @property
    def formats(self) -> tuple[str, ...]:
        """Names of the formats.

        Raises:
            InputError: One is none.
        """
        return parse_formats(self.export_format)

    def shapes(self, max_seq_length: int) -> ServingShapes:
        """The shapes in which an export calls its model.

        Raises:
            InputError: They cannot be.
        """
        return resolve_shapes(
            max_seq_length,
            self.export_lengths,
            self.export_batch_size,
            self.export_jit_compile,
            self.export_precision,
        )
