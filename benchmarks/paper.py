"""The paper's figures and tables on runs of one's own: `python -m benchmarks.paper figure2 --run=runs/MRPC,runs/SST-2`.

    figure2   cosine similarity of word-vectors by encoder
    figure5   mutual information where the k-th most significant word-vector is eliminated at encoder j
    table2    metric and speed beside the published ones
    table3    the same of ALBERT
    table4    Attn-WS against Head-WS and Rand-WS with the same configuration
    ablation  these three, and models of fewer encoders, at the same cost

Each takes folders that run_glue.py wrote, with its fine-tuning (tables 2 and 3: with measured speed-ups). Several runs
of a task, such as seeds, give mean and spread.
"""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import app, flags

from benchmarks import command
from benchmarks.backends import process_environment
from benchmarks.command import FLAGS, output_path, publish, surroundings
from benchmarks.end_to_end import read_run
from benchmarks.published import CLAIMS

_TABLES_OF_SPEED = ("table2", "table3")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What the flags of the same names say."""

    data_dir: str = ""
    checkpoint: str = ""
    examples: int = 0
    targets: Sequence[float] = (1.5, 2.0, 3.0)
    epochs: int = 0
    retention: str = ""


def measure(experiment: str, folder: Path, options: Options) -> dict[str, Any]:
    """One experiment on one run.

    Args:
        experiment: One of `published.CLAIMS`.
        folder: Of the run.
        options: How.

    Raises:
        InputError: There is no run.
        ValueError: It does not have what the experiment needs.
    """
    from benchmarks import paper_experiments
    from powerbert_tf.elimination.retention import geometric_schedule, parse_configuration

    if experiment in _TABLES_OF_SPEED:
        found = paper_experiments.read_speedups(folder)
        if experiment == "table3" and "albert" not in found["checkpoint"].lower():
            raise ValueError(f"{folder} is a run of {found['checkpoint']}; expected one of ALBERT.")
        return found
    run = read_run(folder, options.data_dir, options.checkpoint)
    size = run.checkpoint.config.num_hidden_layers
    if experiment == "figure2":
        found = paper_experiments.measure_figure2(run, options.examples)
    elif experiment == "figure5":
        found = paper_experiments.measure_figure5(run, options.examples)
    elif experiment == "table4":
        given = options.retention
        kept = (
            parse_configuration(given, size, run.settings.inputs.max_seq_length)
            if given
            else geometric_schedule(0.1, size)
        )
        found = paper_experiments.measure_selection(run, options.examples, kept)
    else:
        found = paper_experiments.measure_strategies(run, options.examples, options.targets, options.epochs)
    return {
        "task": run.task.name,
        "checkpoint": run.checkpoint.name,
        "metric": run.task.metrics[0],
        "data": run.dataset.source,
        "seed": run.settings.training.seed,
        **found,
    }


def main(argv: Sequence[str]) -> None:
    """Measures, and writes JSON, Markdown and, of figures, PNG."""
    if len(argv) != 2 or argv[1] not in CLAIMS:
        raise app.UsageError(f"{' '.join(argv[1:]) or 'nothing'}: expected one of {', '.join(CLAIMS)}.")
    if not FLAGS.run:
        raise app.UsageError("--run: missing; expected folders that run_glue.py wrote, such as --run=runs/MRPC.")
    os.environ.update(process_environment(FLAGS.device, FLAGS.threads))
    from benchmarks.paper_report import write_report
    from powerbert_tf.common.errors import InputError
    from powerbert_tf.latency.timing import device_name

    experiment = argv[1]
    try:
        options = Options(
            data_dir=FLAGS.data_dir,
            checkpoint=FLAGS.checkpoint,
            examples=FLAGS.examples,
            targets=[float(target) for target in FLAGS.targets],
            epochs=FLAGS.epochs,
            retention=FLAGS.retention,
        )
        results = [measure(experiment, Path(folder), options) for folder in FLAGS.run]
    except (InputError, ValueError) as error:
        raise app.UsageError(str(error)) from None
    report = {
        **surroundings("benchmarks.paper"),
        "experiment": experiment,
        "device": device_name(),
        "epochs": FLAGS.epochs,
        "results": results,
    }
    publish(report, output_path(f"paper-{experiment}"), write_report)


def define_flags() -> None:
    """Flags of the command."""
    command.define_flags()
    flags.DEFINE_list("run", [], "Folders of runs of run_glue.py, such as runs/MRPC, with their fine-tuning.")
    flags.DEFINE_string("data_dir", "", "Where the data is; empty for where the runs found it.")
    flags.DEFINE_string("checkpoint", "", "Where the checkpoint is; empty for where the runs found it.")
    flags.DEFINE_integer("examples", 0, "Dev examples, spread over the split; 0 for all.", lower_bound=0)
    flags.DEFINE_list("targets", ["1.5", "2", "3"], "ablation: times fewer multiply-adds.")
    flags.DEFINE_integer("epochs", 0, "ablation: of training each model towards the fine-tuned one's answers.")
    flags.DEFINE_string("retention", "", "table4: configuration; empty for a geometric schedule down to a tenth.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
