"""Flags of the export, and the shapes in which an exported model runs."""

import dataclasses

from powerbert_tf.common.flags import Check, CheckedSettings, one_of, require, setting
from powerbert_tf.export.formats import DEFAULT_FORMAT, EXPORT_FORMATS

EXPORT_MODELS = ("retrain", "elastic", "finetune")
EXPORT_PRECISIONS = ("float32", "bfloat16")
_DEFAULT_LENGTHS = tuple(16 * 2**power for power in range(16))
_LARGEST_POWER = 12  # batches are padded to 1, 2, 4, ... 2 ** 12, larger ones to its multiples


@dataclasses.dataclass(frozen=True)
class ServingShapes:
    """What inputs are padded to before the model is called.

    Attributes:
        lengths: Lengths that inputs are padded to, increasing, the last one N; empty for the longest of each batch.
        batch_size: Number of examples that a batch is padded to, and its limit, which makes all shapes static; 0 for
            any batch.
        jit_compile: Whether XLA compiles the model, once for each shape.
        precision: Of weights and activations, float32 or bfloat16; answers are float32.
    """

    lengths: tuple[int, ...] = ()
    batch_size: int = 0
    jit_compile: bool = False
    precision: str = "float32"

    @property
    def is_static(self) -> bool:
        return self.batch_size > 0

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Sizes that smaller batches are padded to, increasing; empty if batches are not padded."""
        if self.is_static:
            return (self.batch_size,)
        return tuple(2**power for power in range(_LARGEST_POWER + 1)) if self.jit_compile else ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportSettings(CheckedSettings):
    """Exports."""

    export_model: str = setting(
        "Model to export: retrain (the re-trained model), elastic (that stage's weights, with signatures for each "
        "of --target_speedups) or finetune (the dense model).",
        default="retrain",
        check=one_of(EXPORT_MODELS),
    )
    export_format: str = setting(
        "Formats to export, separated by commas: "
        f"{', '.join(f'{name} ({row.title})' for name, row in EXPORT_FORMATS.items())}.",
        default=DEFAULT_FORMAT,
    )
    export_jit_compile: bool = setting(
        "Export a model that XLA compiles when it is served; inputs are padded to a few shapes.", default=False
    )
    export_lengths: str = setting(
        "Lengths to which an exported model pads its inputs, such as 32,64,128. Default: none, each batch is padded "
        "to its longest; 16, 32, 64 and so on with --export_jit_compile or --export_batch_size.",
        default="",
    )
    export_batch_size: int = setting(
        "Number of examples to which an exported model pads each batch, and the most that it takes: static shapes, "
        "as a TPU needs them; 0 for any batch.",
        default=0,
        check=Check(lambda value: value >= 0, "0 for any, or a number of examples"),
    )
    export_precision: str = setting(
        "Precision of an exported model: float32 or bfloat16.", default="float32", check=one_of(EXPORT_PRECISIONS)
    )
    export_int8: bool = setting(
        "For onnx, openvino and litert: also export weights of 8 bits, which these runtimes multiply by activations "
        "that are rounded to 8 bits as they come.",
        default=False,
    )

    def __post_init__(self):
        super().__post_init__()
        expected = f"of {', '.join(EXPORT_FORMATS)}, separated by commas"
        require(self._names <= EXPORT_FORMATS.keys(), "export_format", self.export_format, expected)

    @property
    def _names(self) -> set[str]:
        return {name.strip() for name in self.export_format.split(",")}

    @property
    def formats(self) -> tuple[str, ...]:
        """Names of the formats, each once, in the order of `EXPORT_FORMATS`."""
        return tuple(name for name in EXPORT_FORMATS if name in self._names)

    def shapes(self, max_seq_length: int) -> ServingShapes:
        """The shapes in which an export calls its model.

        Raises:
            InputError: A length is not a whole number from 1 to N.
        """
        given = self.export_lengths.split(",") if self.export_lengths else []
        numbers = [int(text) if text.strip().isdecimal() else 0 for text in given]
        expected = f"whole numbers from 1 to {max_seq_length} (--max_seq_length), separated by commas, such as 32,64"
        holds = all(1 <= number <= max_seq_length for number in numbers)
        require(holds, "export_lengths", self.export_lengths, expected)
        if not numbers and (self.export_jit_compile or self.export_batch_size):
            numbers = [length for length in _DEFAULT_LENGTHS if length < max_seq_length] or [max_seq_length]
        lengths = sorted({*numbers, max_seq_length}) if numbers else ()
        return ServingShapes(tuple(lengths), self.export_batch_size, self.export_jit_compile, self.export_precision)
