"""The paper's figures and tables on your own runs: `python -m benchmarks.paper figure2 --run=runs/MRPC,runs/SST-2`.

    figure2   cosine similarity of word-vectors by encoder
    figure5   mutual information where the k-th most significant word-vector is eliminated at encoder j
    table2    metric and speed beside the published ones
    table3    the same of ALBERT
    table4    Attn-WS against Head-WS and Rand-WS with the same configuration
    ablation  these three, and models of fewer encoders, at the same cost

Each takes folders that run_glue.py wrote, with its fine-tuning (tables 2 and 3: with measured speed-ups). Several runs
of a task, such as seeds, give mean and spread.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags

from benchmarks.common.command import FLAGS, define_flags, output_path, publish, surroundings
from benchmarks.common.frameworks import process_environment
from benchmarks.paper.published_results import CLAIMS


def main(argv: Sequence[str]) -> None:
    """Measures, and writes JSON, Markdown and, of figures, PNG."""
    if len(argv) != 2 or argv[1] not in CLAIMS:
        raise app.UsageError(f"{' '.join(argv[1:]) or 'nothing'}: expected one of {', '.join(CLAIMS)}.")
    if not FLAGS.run:
        raise app.UsageError("--run: missing; expected folders that run_glue.py wrote, such as --run=runs/MRPC.")
    os.environ.update(process_environment(FLAGS.device, FLAGS.threads))
    from benchmarks.paper.experiments import Options, measure
    from benchmarks.paper.report import plot, to_markdown
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
    output = output_path(f"paper-{experiment}")
    publish(report, output, to_markdown(report, output.name), plot(report))


def define_paper_flags() -> None:
    """Flags of the command."""
    define_flags()
    flags.DEFINE_list("run", [], "Folders of runs of run_glue.py, such as runs/MRPC, with their fine-tuning.")
    flags.DEFINE_string("data_dir", "", "Where the data is; empty for where the runs found it.")
    flags.DEFINE_string("checkpoint", "", "Where the checkpoint is; empty for where the runs found it.")
    flags.DEFINE_integer("examples", 0, "Dev examples, spread over the split; 0 for all.", lower_bound=0)
    flags.DEFINE_list("targets", ["1.5", "2", "3"], "ablation: times fewer multiply-adds.")
    flags.DEFINE_integer("epochs", 0, "ablation: of training each model towards the fine-tuned one's answers.")
    flags.DEFINE_string("retention", "", "table4: configuration; empty for a geometric schedule down to a tenth.")


if __name__ == "__main__":
    define_paper_flags()
    app.run(main)
