"""Flags of the search: its method, its target and the score."""

import dataclasses

from powerbert_tf.common.errors import InputError
from powerbert_tf.common.flags import AT_LEAST_1, NOT_NEGATIVE, CheckedSettings, require, setting
from powerbert_tf.elimination.significance import score_names

TARGETS = ("target_speedup", "target_latency_ms", "max_loss")


@dataclasses.dataclass(frozen=True)
class SearchMethod:
    """What a run knows of a search method; its function is in `runs.stages.search.SEARCHES`, by the same name.

    Attributes:
        description: A sentence for the report.
        trains: Whether it writes weights, which re-training then starts from.
        has_target: Whether one of `TARGETS` is its goal.
        depends_on: Flags that its result depends on, beside the target, what costs are measured by, and the score.
    """

    description: str
    trains: bool = True
    has_target: bool = True
    depends_on: tuple[str, ...] = ()


SEARCH_METHODS: dict[str, SearchMethod] = {
    "calibrate": SearchMethod(
        "No training: one encoder at a time eliminated, and the change of the answers was measured as its damage.",
        trains=False,
        depends_on=("calibration_examples",),
    ),
    "soft": SearchMethod(
        "Fractions were learned with the weights, under the constraint of the target.",
        depends_on=("learning_rate_soft_extract",),
    ),
    "paper": SearchMethod(
        "Retention parameters were learned with the weights, while lambda pushed their masses down.",
        has_target=False,
        depends_on=("learning_rate_soft_extract", "lambda_"),
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchSettings(CheckedSettings):
    """The retention configuration and its target."""

    search_method: str = setting(
        "calibrate (no training: measure what elimination changes, then eliminate where it hurts least), soft (learn "
        "fractions with the weights, within the budget) or paper (learn counts, regularized by lambda).",
        default="calibrate",
    )
    selection: str = setting(
        "Which word-vectors stay: attention (Attn-WS, those that receive most attention), weighted (attention weighted "
        "by the norms of values), head (Head-WS, the first) or random (Rand-WS, fixed random positions). Default: "
        "weighted; attention with --search_method=paper.",
        default="",
    )
    retention_configuration: str = setting(
        "Word-vectors that each encoder keeps, such as 64,48,32, or their share of each example, such as 0.8,0.5,0.3, "
        "instead of a search; empty to search.",
        default="",
    )
    target_speedup: float = setting(
        "How many times faster than the fine-tuned model, on the same unpadded, length-grouped batches. Default: 2, "
        "unless another target is given.",
        default=0.0,
        check=NOT_NEGATIVE,
    )
    target_latency_ms: float = setting(
        "Target of mean milliseconds per length-grouped batch, instead of a speed-up. Default: none.",
        default=0.0,
        check=NOT_NEGATIVE,
    )
    max_loss: float = setting(
        "How much the dev metric may fall before re-training, such as 0.01, instead of a speed-up; the search finds "
        "the fastest such configuration. For --stage=pareto, how much it may fall after re-training. Default: none.",
        default=0.0,
        check=NOT_NEGATIVE,
    )
    target_speedups: str = setting("Speed-ups for --stage=pareto and --stage=elastic.", default="1.5,2,3,4,6")
    calibration_examples: int = setting(
        "Number of training examples that --search_method=calibrate measures on.", default=256, check=AT_LEAST_1
    )
    lambda_: float = setting(
        "Weight of the masses in the loss of --search_method=paper; a larger one eliminates more.", check=NOT_NEGATIVE
    )

    def __post_init__(self):
        super().__post_init__()
        # Checked here, because users may add to both.
        for name, known in (("search_method", SEARCH_METHODS), ("selection", score_names())):
            require(getattr(self, name) in known, name, getattr(self, name), f"one of {', '.join(known)}")
        given = [name for name in TARGETS if getattr(self, name)]
        if len(given) > 1:
            raise InputError(f"--{' and --'.join(given)} are given; expected one target.")
        if given and not self.searches:
            raise InputError(f"--{given[0]} and --retention_configuration are given; expected one of them.")
        if given and not SEARCH_METHODS[self.search_method].has_target:
            raise InputError(f"--{given[0]}: the paper's search has lambda for a knob; expected another search method.")
        if self.max_loss and self.search_method == "soft":
            raise InputError("--max_loss: the soft search goes to a speed-up; expected --search_method=calibrate.")
        self.pareto_targets()  # raises where it cannot be read

    def pareto_targets(self) -> tuple[float, ...]:
        """The targets of the pareto and elastic stages, increasing.

        Raises:
            InputError: They are no numbers from 1 with commas between.
        """
        try:
            targets = tuple(sorted({float(target) for target in self.target_speedups.split(",")}))
        except ValueError:
            targets = (0.0,)
        require(
            all(1 <= target < float("inf") for target in targets),
            "target_speedups",
            self.target_speedups,
            "speed-ups of at least 1 with commas between",
        )
        return targets

    @property
    def searches(self) -> bool:
        """Whether the retention configuration comes from a search."""
        return not self.retention_configuration
