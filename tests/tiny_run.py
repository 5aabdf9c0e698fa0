"""A run on the tiny task, whose stages run once for all tests that start from their results."""

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
        self.checkpoint = write_checkpoint(folder / "checkpoint")
        self.data = folder / "data"
        for task in ("SST-2", "STS-B", "QNLI"):
            write_data(self.data, task)

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
                "search_over": "rows",  # seconds less; `test_pipeline.py` searches for widths, too
                **changes,
            },
        )

    def copy(self, output_dir: Path, task: str = "SST-2", stage: str = "finetune", **changes) -> Path:
        """Puts a run after `stage`, with other settings than usual where `changes` has them, into `output_dir`.

        Returns:
            The folder of the run.
        """
        name = "-".join([task, stage, *(f"{name}={value}" for name, value in sorted(changes.items()))])
        made = self._folder / name
        if not (made / task).exists():
            if stage != "finetune":
                self.copy(made, task)
            pipeline.run(self.settings(task, made, **changes), stage, verbose=0)
        return Path(shutil.copytree(made / task, Path(output_dir) / task))
