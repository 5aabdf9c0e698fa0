"""Flags for measurements."""

import dataclasses

from powerbert_tf.common.flags import AT_LEAST_1, CheckedSettings, one_of, setting

COST_MODELS = ("measured", "multiply_adds")


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeasuringSettings(CheckedSettings):
    """Measurements."""

    cost_model: str = setting(
        "Cost of a configuration: measured (times on this device, which are cached) or multiply_adds (counted).",
        default="measured",
        check=one_of(COST_MODELS),
    )
    latency_batch_size: int = setting(
        "Batch size of the measurements that targets refer to.", default=32, check=AT_LEAST_1
    )
