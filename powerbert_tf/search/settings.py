"""Flags of the search: its method, its target and the score."""

import dataclasses

from powerbert_tf.common.errors import InputError
from powerbert_tf.common.flags import AT_LEAST_1, NOT_NEGATIVE, CheckedSettings, one_of, require, setting
from powerbert_tf.elimination.reduction import DIMENSIONS, WIDTHS, parse_widths
from powerbert_tf.elimination.significance import score_names

GIVEN = ("retention_configuration", *WIDTHS)  # what encoders keep, instead of a search
TARGETS = ("target_speedup", "target_latency_ms", "max_loss")


@dataclasses.dataclass(frozen=True)
class SearchMethod:
    """What a run knows of a search method; its function is in `runs.stages.search.SEARCHES`, by the same name.

    Attributes:
        description: A sentence for the report.
        trains: Whether it trains, and writes weights, which re-training then starts from.
        widths: Whether it can narrow encoders, and not only eliminate rows.
        has_target: Whether one of `TARGETS` is its goal.
        depends_on: Flags that its result depends on, beside the target, what costs are measured by, and the score.
    """

    description: str
    trains: bool = True
    widths: bool = True
    has_target: bool = True
    depends_on: tuple[str, ...] = ()


SEARCH_METHODS: dict[str, SearchMethod] = {
    "calibrate": SearchMethod(
        "No training: one encoder at a time was reduced, and the change of the answers was measured as its damage.",
        trains=False,
        depends_on=("calibration_examples",),
    ),
    "soft": SearchMethod(
        "Fractions were learned with the weights, under the constraint of the target.",
        depends_on=("learning_rate_soft_extract",),
    ),
    "paper": SearchMethod(
        "Retention parameters were learned with the weights, while lambda pushed their masses down.",
        widths=False,
        has_target=False,
        depends_on=("learning_rate_soft_extract", "lambda_"),
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchSettings(CheckedSettings):
    """What encoders keep, and the target of the search for it."""

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
    neurons: str = setting(
        "Neurons that the feed-forward network of each encoder keeps, such as 768,512,512, instead of a search; empty "
        "for all of them, or to search.",
        default="",
    )
    heads: str = setting(
        "Attention heads that each encoder keeps, such as 12,10,8, instead of a search; empty for all of them, or to "
        "search.",
        default="",
    )
    search_over: str = setting(
        "What the search may reduce, separated by commas: rows (word-vectors), neurons, heads. Default: all three; "
        "rows with --search_method=paper.",
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
        "How much the metric on held-out rows (--held_out_share) may fall, such as 0.01, instead of a speed-up; the "
        "search finds the fastest such configuration. For --stage=pareto, how much the dev metric may fall. Default: "
        "none.",
        default=0.0,
        check=NOT_NEGATIVE,
    )
    max_loss_of: str = setting(
        "The model that --max_loss is about: retrained, the finished one, for which candidates are re-trained briefly; "
        "or searched, the one before re-training.",
        default="retrained",
        check=one_of(("retrained", "searched")),
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
            fixed = next(name for name in GIVEN if getattr(self, name))
            raise InputError(f"--{given[0]} and --{fixed} are given; expected one of them.")
        if given and not SEARCH_METHODS[self.search_method].has_target:
            raise InputError(f"--{given[0]}: the paper's search has lambda for a knob; expected another search method.")
        if self.max_loss and self.search_method == "soft":
            raise InputError("--max_loss: the soft search goes to a speed-up; expected --search_method=calibrate.")
        unknown = [name for name in self.dimensions if name not in DIMENSIONS]
        if unknown or len(set(self.dimensions)) < len(self.dimensions):
            raise InputError(f"--search_over={self.search_over}: expected some of {', '.join(DIMENSIONS)}, each once.")
        if self.dimensions != ("rows",) and not SEARCH_METHODS[self.search_method].widths:
            raise InputError(
                f"--search_over={self.search_over}: the paper's search eliminates word-vectors only; expected rows, or "
                "another search method."
            )
        if self.search_method == "soft" and "rows" not in self.dimensions:
            raise InputError(f"--search_over={self.search_over}: the soft search needs rows; expected rows, too.")
        for name in WIDTHS:
            parse_widths(name, getattr(self, name))  # raises where it cannot be read
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
        """Whether what encoders keep comes from a search."""
        return not any(getattr(self, name) for name in GIVEN)

    @property
    def dimensions(self) -> tuple[str, ...]:
        """What the search may reduce."""
        if self.search_over:
            return tuple(self.search_over.split(","))
        return DIMENSIONS if SEARCH_METHODS[self.search_method].widths else DIMENSIONS[:1]
