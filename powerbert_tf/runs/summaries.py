"""What is told at the end: the closing table of a run, and mean and spread over runs of several seeds."""

from collections.abc import Collection
from pathlib import Path
from typing import Any, cast

from powerbert_tf.common.files import write_json
from powerbert_tf.common.reporting import say
from powerbert_tf.reports.pareto import MAX_LOSS
from powerbert_tf.reports.seeds import format_seeds, summarize_seeds
from powerbert_tf.reports.summary import format_summary
from powerbert_tf.runs.folder import RunFolder
from powerbert_tf.runs.run import Run
from powerbert_tf.runs.settings import Settings
from powerbert_tf.runs.stages.pareto import average_pareto
from powerbert_tf.runs.stages.report import tell_spread


def print_summary(run: Run) -> None:
    """Prints the closing table of a run; nothing where it has not been evaluated."""
    evaluated = run.folder.result("evaluate")
    if evaluated is None:
        return
    summary = format_summary(run.task.name, run.dataset.source, run.settings.inputs.max_seq_length, evaluated)
    say(f"\n{summary}")


def tell_seeds(settings: Settings, root: Path, folders: dict[int, RunFolder], wanted: Collection[str]) -> None:
    """Prints and writes mean and spread over seeds, of what the stages that were asked for tell.

    Args:
        settings: Of the runs, but for the seed.
        root: Where it is written.
        folders: Of the run of each seed.
        wanted: The stages.

    Raises:
        InputError: A result is damaged.
        OSError: Files cannot be written.
    """

    def results(stage: str) -> dict[int, dict[str, Any]]:
        return {seed: cast(dict[str, Any], folder.result(stage)) for seed, folder in folders.items()}

    def tell(summary: dict[str, Any], file: str, title: str) -> None:
        write_json(root / file, summary)
        say(f"\n{format_seeds(summary, title)}")

    if "evaluate" in wanted:
        tell(summarize_seeds(results("evaluate")), "seeds.json", settings.task)
    else:
        for stage in ("search", "retrain"):
            if stage in wanted:
                compared = {seed: as_evaluated(folder, stage) for seed, folder in folders.items()}
                tell(summarize_seeds(compared), f"seeds-{stage}.json", f"{settings.task}, after {stage}")
    if "report" in wanted:
        tell_spread([folder.stage("report") for folder in folders.values()], summarize_seeds(results("evaluate")))
    if "pareto" in wanted:
        average_pareto(
            root / "pareto", list(results("pareto").values()), settings.task, settings.search.max_loss or MAX_LOSS
        )
        say(f"\n{(root / 'pareto' / 'pareto.md').read_text(encoding='utf-8')}")


def as_evaluated(folder: RunFolder, stage: str) -> dict[str, Any]:
    """What `evaluate` would say of the weights and the configuration that a stage left."""
    dense, reduced = (cast(dict[str, Any], folder.result(name)) for name in ("finetune", stage))
    return {
        "metric": reduced["metric"],
        "dense": {"metrics": dense["metrics"]},
        "reduced": {"metrics": reduced["metrics"]},
        "speedup": {
            "grouped": reduced.get("measured_speedup"),
            "padded": reduced.get("measured_speedup_over_padded"),
            "predicted": reduced.get("predicted_speedup"),
        },
    }
