"""The files of a run, `<output_dir>/<TASK>/`: written whole or not at all, never overwritten silently."""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from powerbert_tf.common.errors import InputError
from powerbert_tf.common.files import PARTIAL, read_object, write_json
from powerbert_tf.runs.result_shapes import result_problem
from powerbert_tf.runs.settings import TRAINING_STAGES
from powerbert_tf.training.distribution.processes import by_chief
from powerbert_tf.training.state import CHECKPOINTS, WEIGHTS_FILE

RESULT_FILE = "result.json"
_BEGUN_FILE = "begun.json"  # beside them: the settings that the stage was begun with


class RunFolder:
    """`<output_dir>/<TASK>/`.

    Attributes:
        names: Of the stage that is being written: what it enters here ends when its result is on the disk, and before
            it is published. So a folder beside the stage's gets a name of its own that the result knows, or none.

    Args:
        root: The folder; made when the first file is written.
    """

    def __init__(self, root: Path):
        self.root = root
        self.names = contextlib.ExitStack()

    def stage(self, stage: str) -> Path:
        """Folder of a finished stage."""
        return self.root / stage

    def weights(self, stage: str) -> Path:
        """Weights of a finished training stage."""
        return self.stage(stage) / WEIGHTS_FILE

    def result(self, stage: str) -> dict[str, Any] | None:
        """What a finished stage found, or None where it has not been run.

        Raises:
            InputError: A file of it is damaged or missing.
        """
        path = self.stage(stage) / RESULT_FILE
        again = f"pass --stage={stage} --overwrite to run the stage again"
        try:
            result = read_object(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); {again}.") from None
        except ValueError as error:
            raise InputError(f"{path}: damaged ({error}); {again}.") from None
        if not isinstance(result.get("settings"), dict):
            raise InputError(f"{path}: no result of this program; {again}.")
        if problem := result_problem(stage, result):
            raise InputError(f"{path}: {problem}; {again}.")
        trains = stage in TRAINING_STAGES and result.get("search_method") != "calibrate"
        if trains and not self.weights(stage).is_file():
            raise InputError(f"{self.weights(stage)}: no such file; {again}.")
        if stage == "export":
            for name in _exports(result):
                if not os.path.isdir(self.root / name):  # of a name too long, too
                    raise InputError(f"{self.root / name}: no such folder; {again}.")
        return result

    def require_writable(self, needed_bytes: int, of_checkpoints: int = 0) -> None:
        """Checks that files can be written here, and that there is room for them.

        Args:
            needed_bytes: For all.
            of_checkpoints: What of it checkpoints take for a while.

        Raises:
            InputError: They cannot, or there is not.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root) as file:
                file.write(b"0")
        except OSError as error:
            raise InputError(f"--output_dir: {self.root} cannot be written ({error.strerror}).") from None
        free = shutil.disk_usage(self.root).free
        if free < needed_bytes:
            of_which = f", {of_checkpoints / 2**20:.0f} of them for checkpoints (--checkpoint_minutes=0: none)"
            raise InputError(
                f"--output_dir: the disk of {self.root} has {free / 2**20:.0f} MiB free; this run needs up to "
                f"{needed_bytes / 2**20:.0f} MiB{of_which if of_checkpoints else ''}."
            )

    @contextlib.contextmanager
    def writing(
        self,
        stage: str,
        settings: dict[str, Any],
        before_publishing: Callable[[], None] = lambda: None,
    ) -> Iterator[Path]:
        """A folder to write a stage into; it becomes `<stage>/` when the block ends without an error.

        Until then an earlier result stays. Of several processes, which all come here, the chief does it.

        Args:
            stage: Its name.
            settings: Those that its result depends on; what an interrupted run with the same ones left there stays, to
                be gone on from.
            before_publishing: What to do when all is written; again, where it is cut off.
        """
        partial = self._partial(stage)

        def begin() -> None:
            if self.begun(stage) != settings:
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)
                write_json(partial / _BEGUN_FILE, settings)

        def end() -> None:
            before_publishing()
            self.publish(stage)

        by_chief(begin)
        with contextlib.ExitStack() as self.names:
            yield partial
        by_chief(end)

    @contextlib.contextmanager
    def replacing(self, name: str) -> Iterator[Path]:
        """A folder to write to, which takes the place of the folder `name` when the block ends without an error."""
        partial, before = self._partial(name), self._before(name)
        if before.exists() and not (self.root / name).exists():
            before.rename(self.root / name)  # a process was killed between the two names of `_take_place`
        for left in (partial, before):
            shutil.rmtree(left, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        self._take_place(name)

    def _take_place(self, name: str) -> None:
        """Gives what was written aside its name, in place of an earlier one; again, where that was cut off."""
        partial, before, place = self._partial(name), self._before(name), self.root / name
        # Names change in no time; removing a folder takes some, and would leave half of it where it is cut off.
        if partial.exists():
            if place.exists():
                shutil.rmtree(before, ignore_errors=True)
                place.rename(before)
            partial.rename(place)
        shutil.rmtree(before, ignore_errors=True)

    def begun(self, stage: str) -> dict[str, Any] | None:
        """Settings of a run of a stage that was interrupted and left a checkpoint; None where there is none."""
        folder = self._partial(stage)
        try:
            settings = json.loads((folder / _BEGUN_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        states = (path for each in folder.rglob(CHECKPOINTS) for path in each.iterdir() if path.name.isdecimal())
        return settings if isinstance(settings, dict) and any(states) else None

    def is_complete(self, stage: str) -> bool:
        """Whether a run wrote all of a stage and was interrupted before `publish` was done."""
        path = self._partial(stage) / RESULT_FILE
        if stage != "export":
            return path.exists()
        try:
            result = read_object(path)
        except (OSError, ValueError):
            return False
        if result_problem(stage, result):
            return False
        # What it exported gets its name after the result is written.
        return all(os.path.isdir(self.root / name) or os.path.isdir(self._partial(name)) for name in _exports(result))

    def publish(self, stage: str) -> None:
        """Gives the folder that a stage was written into its name, in place of an earlier one."""
        partial = self._partial(stage)
        if stage == "export":
            for name in _exports(read_object(partial / RESULT_FILE)):
                self._take_place(name)
        for checkpoints in list(partial.rglob(CHECKPOINTS)):
            shutil.rmtree(checkpoints)
        (partial / _BEGUN_FILE).unlink(missing_ok=True)
        if self.stage(stage).exists():
            shutil.rmtree(self.stage(stage))
        partial.rename(self.stage(stage))

    def remove(self, stage: str) -> None:
        """Removes what a stage left, finished or not, if anything."""
        for folder in (self.stage(stage), self._partial(stage)):
            if folder.exists():
                shutil.rmtree(folder)

    def _partial(self, name: str) -> Path:
        return self.root / f"{name}{PARTIAL}"

    def _before(self, name: str) -> Path:
        return self.root / f"{name}.before"


def _exports(result: Mapping[str, Any]) -> list[str]:
    """Where an export wrote, below the run's folder."""
    return [form["path"] for form in (result.get("formats") or {"": result}).values()]
