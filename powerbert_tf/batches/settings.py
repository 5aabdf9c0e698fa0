"""Flags for the texts that a model reads, and for how it runs on them."""

import dataclasses

from powerbert_tf.batches.batching import LENGTH_BUCKETS, PADDINGS
from powerbert_tf.common.flags import AT_LEAST_1, Check, CheckedSettings, one_of, setting
from powerbert_tf.models.precision import PRECISIONS
from powerbert_tf.tokenizers.packing import TRUNCATIONS

CASES = ("auto", "cased", "uncased")
XLA_BUCKETS = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputSettings(CheckedSettings):
    """Texts: how many, and how much of each."""

    max_seq_length: int = setting(
        "N, the most word-pieces of an input; 0 for what 99 % of the training texts need. Default: the task's "
        "published value, 0 for data of your own.",
        check=Check(lambda value: value >= 0, "0, or a number of tokens"),
    )
    truncation: str = setting(
        "Of what is longer than N: head keeps its beginning, head_tail a quarter from its beginning and the rest from "
        "its end.",
        default="head",
        check=one_of(TRUNCATIONS),
    )
    case: str = setting("cased, uncased, or auto: as the vocabulary is.", default="auto", check=one_of(CASES))
    train_examples: int = setting(
        "Examples to train on, drawn from the training split with seed 0; 0 for all.",
        default=0,
        check=Check(lambda value: value >= 0, "0 for all, or a number of examples"),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class InferenceSettings(CheckedSettings):
    """How a model runs."""

    eval_batch_size: int = setting("Examples of a batch in evaluation and prediction.", default=64, check=AT_LEAST_1)
    padding: str = setting(
        "batch pads to the longest example of a batch, max to max_seq_length, the paper's way.",
        default="batch",
        check=one_of(PADDINGS),
    )
    length_buckets: int = setting(
        "Most lengths that batches are padded to, chosen so that as little as possible is padded. "
        f"Default: {LENGTH_BUCKETS}; {XLA_BUCKETS} with --jit_compile, which compiles for each.",
        check=AT_LEAST_1,
    )
    jit_compile: bool = setting(
        "Compile training, prediction and what is measured by XLA, for each padded length once, instead of running a "
        "plain graph. On a CPU it did not pay where we measured (docs/results.md); it is meant for accelerators.",
        default=False,
    )
    precision: str = setting(
        "Of what is computed in training and inference: float32, mixed_bfloat16 or mixed_float16 (with loss scaling); "
        "weights are float32. evaluate tells what half precision changes.",
        default="float32",
        check=one_of(PRECISIONS),
    )

    def in_plain_graph(self) -> "InferenceSettings":
        """The same without XLA, for what runs too seldom to be worth compiling."""
        return dataclasses.replace(self, jit_compile=False)
