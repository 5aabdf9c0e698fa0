"""The shapes in which an export calls its model: those of the requests, or a few, so that little is compiled."""

import dataclasses

from powerbert_tf.common.errors import InputError

EXPORT_PRECISIONS = ("float32", "bfloat16")
_SHORTEST = 16  # of the default lengths
_LARGEST_POWER = 12  # batches are padded to 1, 2, 4, ... 2 ** 12, larger ones to its multiples


@dataclasses.dataclass(frozen=True)
class ServingShapes:
    """What inputs are padded to before the model is called.

    Attributes:
        lengths: Lengths that inputs are padded to, increasing, the last one N; empty for the longest of each batch.
        batch_size: Number of examples that a batch is padded to, and its limit, which makes all shapes static; 0 for
            any batch.
        jit_compile: Whether XLA compiles the model, once for each shape.
        precision: Of weights and activations, one of `EXPORT_PRECISIONS`; answers are float32.
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


def resolve_shapes(
    max_seq_length: int,
    lengths: str = "",
    batch_size: int = 0,
    jit_compile: bool = False,
    precision: str = "float32",
) -> ServingShapes:
    """The shapes that flags ask for.

    Args:
        max_seq_length: N.
        lengths: Such as `"32,64,128"`; if empty, any length, or 16, 32, 64 and so on up to N where a compiled or
            static model needs lengths.
        batch_size: See `ServingShapes`.
        jit_compile: See `ServingShapes`.
        precision: See `ServingShapes`.

    Raises:
        InputError: A value is out of its range.
    """
    try:
        chosen = sorted({int(length) for length in lengths.split(",")}) if lengths else []
    except ValueError:
        chosen = [0]
    if chosen and not 1 <= chosen[0] <= chosen[-1] <= max_seq_length:
        raise InputError(
            f"--export_lengths={lengths}: expected whole numbers from 1 to {max_seq_length} (--max_seq_length), "
            "separated by commas, such as 32,64."
        )
    if batch_size < 0:
        raise InputError(f"--export_batch_size={batch_size}: expected 0 for any, or a number of examples.")
    if precision not in EXPORT_PRECISIONS:
        raise InputError(f"--export_precision={precision}: expected one of {', '.join(EXPORT_PRECISIONS)}.")
    if not chosen and (jit_compile or batch_size):
        chosen = [_SHORTEST * 2**power for power in range(16) if _SHORTEST * 2**power < max_seq_length]
    if chosen and chosen[-1] < max_seq_length:
        chosen.append(max_seq_length)
    return ServingShapes(tuple(chosen), batch_size, jit_compile, precision)
