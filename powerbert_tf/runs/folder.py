"""The folder of a run, `<output_dir>/<TASK>/`: files appear whole or not at all, and none is overwritten silently."""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from powerbert_tf.common.errors import InputError, first_line
from powerbert_tf.common.files import PARTIAL, read_object, write_json
from powerbert_tf.models.classifier import BertClassifier
from powerbert_tf.runs.result_schema import OUT_OF_DATE, RESULT_FILE, result_problem
from powerbert_tf.runs.settings import TRAINING_STAGES
from powerbert_tf.search.settings import SEARCH_METHODS
from powerbert_tf.training.distribution.processes import by_chief, is_chief
from powerbert_tf.training.state import CHECKPOINTS, WEIGHTS_FILE

_HOLDS_ANSWERS = "predict"  # the stage whose folder has a folder for each file that was answered, see `prediction`
_BEGUN_FILE = "begun.json"  # in a folder that is being written: the settings of the stage


class RunFolder:
    """`<output_dir>/<TASK>/`.

    Attributes:
        names: Context managers of the stage that is being written, which end after its result is on the disk and before
            the stage is published. An export enters those that name its folders, so that each has the name that the
            result records, or none.

    Args:
        root: The folder; created when the first file is written.
    """

    def __init__(self, root: Path):
        self.root = root
        self.names = contextlib.ExitStack()

    def stage(self, stage: str) -> Path:
        """The folder of a finished stage."""
        return self.root / stage

    def weights(self, stage: str) -> Path:
        """The weights of a finished training stage."""
        return self.stage(stage) / WEIGHTS_FILE

    def result(self, stage: str) -> dict[str, Any] | None:
        """The result of a finished stage; None if it has not run.

        Raises:
            InputError: One of its files is damaged or missing.
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
            raise InputError(f"{path}: has no settings, so it is not the result of a stage; {again}.")
        if problem := result_problem(stage, result):
            raise InputError(f"{path}: {problem}; {again}.")
        method = SEARCH_METHODS.get(result.get("search_method", ""))
        writes = stage in TRAINING_STAGES and (method is None or method.trains)  # others can be made again
        if writes and not self.weights(stage).is_file():
            raise InputError(f"{self.weights(stage)}: no such file; {again}.")
        if stage == "export":
            for name in _exports(result):
                if not os.path.isdir(self.root / name):  # `is_dir` raises if the name is too long
                    raise InputError(f"{self.root / name}: no such folder; {again}.")
        return result

    def finished(self, stage: str) -> dict[str, Any]:
        """The result of a finished stage.

        Raises:
            InputError: It is missing or damaged.
        """
        result = self.result(stage)
        if result is None:
            raise InputError(f"{self.stage(stage)}: missing; run --stage={stage}.")
        return result

    def record(self, stage: str, result: dict[str, Any]) -> None:
        """Writes the result of the stage that is being written; the chief does."""
        if is_chief():
            write_json(self._partial(stage) / RESULT_FILE, result)

    def keep(self, stage: str, model: BertClassifier, is_saved: bool = False) -> None:
        """Writes the weights of the stage that is being written, unless training has; the chief does."""
        if is_chief() and not is_saved:
            model.save_weights(self._partial(stage) / WEIGHTS_FILE)

    def model(self, stage: str, make: Callable[[], BertClassifier], own: bool = False) -> BertClassifier:
        """The model of a finished stage, read from its weights; always one of the caller's own.

        Raises:
            InputError: They cannot be read.
        """
        model, path = make(), self.weights(stage)
        try:
            model.load_weights(path)
        except (OSError, ValueError, KeyError) as error:
            reason = first_line(error)
            raise InputError(
                f"{path}: cannot be read ({reason}); pass --stage={stage} --overwrite to run the stage again."
            ) from None
        return model

    def require_writable(self, needed_bytes: int, of_checkpoints: int = 0) -> None:
        """Checks that files can be written here, and that there is room for them.

        Checkpoints need `of_checkpoints` of these bytes, but only until their stage is finished.

        Raises:
            InputError: The folder cannot be written, or its disk is too full.
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

        Until then an earlier result stays. All processes must call this; the chief changes files.

        Args:
            stage: Its name.
            settings: Settings that its result depends on. Files of an interrupted run with the same ones stay, so that
                it can resume.
            before_publishing: Called when everything is written; called again if publishing was interrupted.
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
        """A folder to write to, which replaces the folder `name` when the block ends without an error."""
        partial, before = self._partial(name), self._before(name)
        if before.exists() and not (self.root / name).exists():
            before.rename(self.root / name)  # a process was killed between the two renames of `_take_place`
        for left in (partial, before):
            shutil.rmtree(left, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        self._take_place(name)

    def _take_place(self, name: str) -> None:
        """Replaces the folder `name` by the one that was written; may be repeated if it was interrupted."""
        partial, before, place = self._partial(name), self._before(name), self.root / name
        # A rename is instant. Removing a folder takes time, and would leave half of it if it were interrupted.
        if partial.exists():
            if place.exists():
                shutil.rmtree(before, ignore_errors=True)
                place.rename(before)
            partial.rename(place)
        shutil.rmtree(before, ignore_errors=True)

    def begun(self, stage: str) -> dict[str, Any] | None:
        """The settings of a stage that was interrupted and left a checkpoint; None if there is none."""
        folder = self._partial(stage)
        try:
            settings = json.loads((folder / _BEGUN_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        states = (path for each in folder.rglob(CHECKPOINTS) for path in each.iterdir() if path.name.isdecimal())
        return settings if isinstance(settings, dict) and any(states) else None

    def is_complete(self, stage: str) -> bool:
        """Whether a stage was written completely, but interrupted before `publish` was done."""
        path = self._partial(stage) / RESULT_FILE
        if stage != "export":
            return path.exists()
        try:
            result = read_object(path)
        except (OSError, ValueError):
            return False
        if result_problem(stage, result):
            return False
        # Exported models get their names after the result is written.
        return all(os.path.isdir(self.root / name) or os.path.isdir(self._partial(name)) for name in _exports(result))

    def publish(self, stage: str) -> None:
        """Gives the folder that a stage was written into its name, replacing an earlier one."""
        partial = self._partial(stage)
        if stage == "export":
            for name in _exports(read_object(partial / RESULT_FILE)):
                self._take_place(name)
        for checkpoints in list(partial.rglob(CHECKPOINTS)):
            shutil.rmtree(checkpoints)
        (partial / _BEGUN_FILE).unlink(missing_ok=True)
        if self.stage(stage).exists():
            for kept in self._answers(stage):
                kept.rename(partial / kept.name)
            shutil.rmtree(self.stage(stage))
        partial.rename(self.stage(stage))

    def remove(self, stage: str) -> None:
        """Removes the files of a stage, finished or not, if there are any; answers to files of the user's stay."""
        if self._partial(stage).exists():
            shutil.rmtree(self._partial(stage))
        if not self.stage(stage).exists():
            return
        if self._answers(stage):
            for path in self.stage(stage).iterdir():
                if not path.is_dir():
                    path.unlink()
        else:
            shutil.rmtree(self.stage(stage))

    def _answers(self, stage: str) -> list[Path]:
        """Folders of answers to files, which a prediction of new files wrote beside those of the stage."""
        return [path for path in self.stage(stage).iterdir() if path.is_dir()] if stage == _HOLDS_ANSWERS else []

    def expire(self, stage: str, reason: str) -> bool:
        """Marks the result of a stage as out of date, so that it is made again when it is asked for.

        Returns:
            Whether there is a result that was up to date.
        """
        path = self.stage(stage) / RESULT_FILE
        try:
            result = read_object(path)
        except (OSError, ValueError):
            return False
        if OUT_OF_DATE not in result:
            write_json(path, {**result, OUT_OF_DATE: reason})
        return OUT_OF_DATE not in result

    def _partial(self, name: str) -> Path:
        return self.root / f"{name}{PARTIAL}"

    def _before(self, name: str) -> Path:
        return self.root / f"{name}.before"


def _exports(result: Mapping[str, Any]) -> list[str]:
    """The folders that an export wrote, relative to the run's folder."""
    return [form["path"] for form in (result.get("formats") or {"": result}).values()]
