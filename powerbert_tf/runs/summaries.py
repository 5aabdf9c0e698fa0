"""What a run prints at its end: its closing table, and mean and spread over several seeds."""

import shlex
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from powerbert_tf.common.files import write_json
from powerbert_tf.common.reporting import say
from powerbert_tf.reports.pareto import MAX_LOSS
from powerbert_tf.reports.seeds import format_seeds, judge_seeds, summarize_seeds
from powerbert_tf.reports.summary import format_summary
from powerbert_tf.runs.folder import RunFolder
from powerbert_tf.runs.run import Run
from powerbert_tf.runs.settings import Settings
from powerbert_tf.runs.stages.pareto import average_pareto
from powerbert_tf.runs.stages.report import add_seeds, find_cautions


def print_summary(run: Run) -> None:
    """Prints the closing table of a run; nothing if it has not been evaluated."""
    evaluated = run.folder.result("evaluate")
    if evaluated is not None:
        max_seq_length = run.settings.inputs.max_seq_length
        say(f"\n{format_summary(run.task.name, run.dataset.source, max_seq_length, evaluated)}")
        for caution in find_cautions(run, evaluated):
            say(f"\nMind: {caution}")


def print_found(run: Run) -> None:
    """Prints the speed-up of a search that no evaluation follows, which would measure it again."""
    found = run.folder.finished("search")
    if predicted := found.get("predicted_speedup"):
        measured, padded = (found.get(name) for name in ("measured_speedup", "measured_speedup_over_padded"))
        of_measured = "" if measured is None else f", measured {measured:.2f}x, {padded:.2f}x against padded to N"
        say(f"  predicted {predicted:.2f}x{of_measured}")


def say_next(run: Run) -> None:
    """Prints where the exported model is, and what can be done with the run, as commands to paste."""
    exported = run.folder.result("export")
    if exported is not None:
        say(f"\nmodel: {run.folder.root / exported['path']}")
    task, program = f"--task={shlex.quote(str(run.folder.root))}", _program()
    commands = ["--stage=report", *(["--stage=explain"] if run.task.choices == 1 else [])]
    if run.task.choices == 1:
        commands = ["--stage=predict --predict_file=FILE", *commands]
        if not run.task.is_pair:
            commands = ['--stage=predict --text="TEXT"', *commands]
    say("next:" if exported is not None else "\nnext:")
    for command in commands:
        say(f"  {program} {task} {command}")


def _program() -> str:
    """The command that started this process, as one would type it."""
    return f"python {sys.argv[0]}" if sys.argv[0].endswith("run_glue.py") else "powerbert"


def report_seeds(settings: Settings, root: Path, folders: Mapping[int, RunFolder], wanted: Collection[str]) -> None:
    """Prints mean and spread of the results of stages over seeds, and writes them into the folder `root`.

    Raises:
        InputError: A result is damaged.
        OSError: Files cannot be written.
    """

    def results(stage: str) -> dict[int, dict[str, Any]]:
        return {seed: folder.finished(stage) for seed, folder in folders.items()}

    def report(found: dict[int, dict[str, Any]], file: str, title: str) -> None:
        summary, verdict = summarize_seeds(found), judge_seeds(found)
        write_json(root / file, summary)
        say(f"\n{format_seeds(summary, title, verdict.lines if verdict else ())}")

    if "evaluate" in wanted:
        report(results("evaluate"), "seeds.json", settings.task)
    else:
        for stage in ("search", "retrain"):
            if stage in wanted:
                compared = {seed: as_evaluated(folder, stage) for seed, folder in folders.items()}
                report(compared, f"seeds-{stage}.json", f"{settings.task}, after {stage}")
    if "report" in wanted:
        add_seeds([folder.stage("report") for folder in folders.values()], summarize_seeds(results("evaluate")))
    if "pareto" in wanted:
        max_loss = settings.search.max_loss or MAX_LOSS
        average_pareto(root / "pareto", list(results("pareto").values()), settings.task, max_loss)


def as_evaluated(folder: RunFolder, stage: str) -> dict[str, Any]:
    """The result of `search` or `retrain` in the form of a result of `evaluate`."""
    dense, reduced = (folder.finished(name) for name in ("finetune", stage))
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
