"""Writes the sample files of all tasks: `python -m powerbert_tf.data.sample FOLDER`."""

import argparse
import pathlib
from collections.abc import Sequence

from powerbert_tf.data.sample.files import write_own_sample, write_sample
from powerbert_tf.data.tasks import TASKS


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes one folder per task below the folder named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m powerbert_tf.data.sample", description=__doc__)
    parser.add_argument("folder", nargs="?", type=pathlib.Path, default="glue_data/sample", help="default: %(default)s")
    folder = parser.parse_args(arguments).folder
    for task in {task.folder: task for task in TASKS.values()}.values():
        write_sample(folder / task.folder, task)
    write_own_sample(folder / "requests")


if __name__ == "__main__":
    main()
