"""A run on the tiny task, whose stages run once for all tests that start from their results."""

import contextlib
import fcntl
import shutil
from pathlib import Path

from tiny_task import write_checkpoint, write_data

from powerbert_tf.runs import pipeline
from powerbert_tf.runs.settings import Settings, resolve_settings


class TinyRun:
    """Runs each stage once, in a folder of its own, and gives out copies of what it left.

    Attributes:
        checkpoint: Folder of the tiny checkpoint.
        data: Folder of SST-2, STS-B and QNLI.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.checkpoint = folder / "checkpoint"
        self.data = folder / "data"
        folder.mkdir(exist_ok=True)
        with self._locked():
            if not self.checkpoint.exists():
                write_checkpoint(self.checkpoint)
                for task in ("SST-2", "STS-B", "QNLI"):
                    write_data(self.data, task)

    @contextlib.contextmanager
    def _locked(self):
        """A block in which no other worker trains; it waits for one that does."""
        with (self._folder / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def settings(self, task: str, output_dir: Path, **changes) -> Settings:
        """The settings of all runs of the tiny task; another value of those of training means another fine-tuning."""
        return resolve_settings(
            task,
            **{
                "checkpoint": str(self.checkpoint),
                "data_dir": str(self.data),
                "output_dir": str(output_dir),
                "max_seq_length": 23,
                "epochs": 2,
                "epochs_retrain": 2,
                "batch_size": 13,
                "learning_rate": 3e-4,
                "cost_model": "multiply_adds",
                "latency_batch_size": 5,
                "calibration_examples": 17,
                "held_out_share": 0.0,  # 53 rows are few to learn from; `test_held_out.py` holds some out
                "search_over": "rows",  # seconds less; `test_pipeline.py` searches for widths, too
                **changes,
            },
        )

    def copy(self, output_dir: Path, task: str = "SST-2", stage: str = "finetune", **changes) -> Path:
        """Puts a run after `stage`, with other settings than usual where `changes` has them, into `output_dir`.

        Returns:
            The folder of the run.
        """
        with self._locked():
            made = self._make(task, stage, **changes)
        return Path(shutil.copytree(made, Path(output_dir) / task))

    def _make(self, task: str, stage: str, **changes) -> Path:
        name = "-".join([task, stage, *(f"{name}={value}" for name, value in sorted(changes.items()))])
        made = self._folder / name
        if not made.exists():
            half = self._folder / f"{name}.half"  # where a stage failed for another test
            shutil.rmtree(half, ignore_errors=True)
            if stage != "finetune":
                shutil.copytree(self._make(task, "finetune"), half / task)
            pipeline.run(self.settings(task, half, **changes), stage, verbose=0)
            half.rename(made)
        return made / task
