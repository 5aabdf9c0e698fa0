"""The shapes in which an export calls its model: those of the requests, or a few, so that little is compiled."""

import dataclasses

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
