"""Flags in groups by what people want to do, for `--help`, `--helpfull` and the documentation."""

import dataclasses
import textwrap
from collections.abc import Iterator, Sequence

from absl.flags import Flag, FlagValues

from powerbert_tf.batches.settings import InferenceSettings, InputSettings
from powerbert_tf.common.flags import flag_name
from powerbert_tf.data.settings import DataSettings
from powerbert_tf.export.deployment.settings import DeploySettings
from powerbert_tf.export.settings import ExportSettings
from powerbert_tf.latency.settings import MeasuringSettings
from powerbert_tf.prediction.settings import PredictSettings
from powerbert_tf.reports.settings import ReportSettings
from powerbert_tf.runs.settings import Settings
from powerbert_tf.search.settings import SearchSettings
from powerbert_tf.training.settings import TrainingSettings

EVERYDAY = "Everyday flags"
USAGE = """Makes BERT classifiers faster: fine-tunes a checkpoint, searches what each
encoder may eliminate, re-trains, evaluates, predicts and exports.

Your own texts, twice as fast (the default):
  powerbert --train_file=reviews.csv --text_column=review --label_column=stars
A classifier that is trained already, on texts without labels:
  powerbert --checkpoint=classifier --train_file=logs.jsonl --text_column=text
A GLUE task, three times as fast:
  powerbert --task=MRPC --target_speedup=3
What a finished run answers, in a file and to one sentence:
  powerbert --task=runs/reviews --stage=predict --predict_file=new.csv
  powerbert --task=runs/reviews --stage=predict --text="A film to remember."
What it lost and gained, as a page:
  powerbert --task=runs/reviews --stage=report
Answers over HTTP (powerbert serve --help):
  powerbert serve runs/reviews
"""
_WIDTH = 80


@dataclasses.dataclass(frozen=True)
class _Group:
    """Flags by name, then the flags of some kinds of settings that no group before has."""

    names: tuple[str, ...] = ()
    kinds: tuple[type, ...] = ()


_GROUPS: dict[str, _Group] = {
    EVERYDAY: _Group(
        (
            *("task", "train_file", "text_column", "label_column", "checkpoint", "target_speedup"),
            *("stage", "predict_file", "text", "output_dir"),
        )
    ),
    "Run, resume, repeat": _Group(
        (
            *("overwrite", "config", "seed", "seeds", "deterministic", "checkpoint_minutes", "checkpoint_steps"),
            "cache_dir",
        )
    ),
    "Describe your data": _Group(
        (
            *("test_file", "dev_file", "dev_share", "text_pair_column", "regression", "on_bad_row", "tfds_name"),
            *("data_dir", "metric", "class_weights"),
        ),
        (DataSettings, InputSettings),
    ),
    "Choose how much faster, and how it is found": _Group(
        ("target_latency_ms", "max_loss", "max_disagreement", "search_over"), (SearchSettings, MeasuringSettings)
    ),
    "Use your devices": _Group(("distribution", "tpu"), (InferenceSettings,)),
    "Train": _Group((), (TrainingSettings,)),
    "Answer new texts": _Group((), (PredictSettings,)),
    "Export": _Group((), (ExportSettings,)),
    "Choose what to serve": _Group((), (DeploySettings,)),
    "Look into the model": _Group((), (ReportSettings,)),
    "More": _Group((), (Settings,)),
}


def flag_groups() -> dict[str, tuple[str, ...]]:
    """Names of flags by the heading of their group; each flag is in one group."""
    taken: set[str] = set()
    groups = {}
    for heading, group in _GROUPS.items():
        of_kinds = (
            flag_name(field.name)
            for kind in group.kinds
            for field in dataclasses.fields(kind)  # type: ignore[arg-type]
            if "help" in field.metadata
        )
        names = tuple(name for name in dict.fromkeys((*group.names, *of_kinds)) if name not in taken)
        taken |= {*names}
        if names:
            groups[heading] = names
    return groups


def help_text(flags: FlagValues, full: bool) -> str:
    """What `--help` prints: the usage and the everyday flags; if `full`, all flags.

    Args:
        flags: All flags.
        full: Whether to show all groups.
    """
    groups = flag_groups()
    shown = groups if full else {EVERYDAY: groups[EVERYDAY]}
    parts = [USAGE, *("\n".join([f"{heading}:", *_entries(flags, names)]) for heading, names in shown.items())]
    more = sum(map(len, groups.values())) - len(groups[EVERYDAY])
    return "\n".join(parts) + ("\n" if full else f"\n\npowerbert --helpfull shows {more} more.\n")


def _entries(flags: FlagValues, names: Sequence[str]) -> Iterator[str]:
    for name in names:
        yield f"  --{'[no]' if flags[name].boolean else ''}{name}"
        yield textwrap.fill(
            full_help(flags[name]), _WIDTH, initial_indent="      ", subsequent_indent="      ", break_on_hyphens=False
        )


def full_help(flag: Flag) -> str:
    """The help text of a flag, with its default."""
    text = str(flag.help)
    return text if flag.default is None or " Default:" in text else f"{text} Default: {flag.default!r}."
