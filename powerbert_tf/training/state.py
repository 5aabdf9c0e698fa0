"""The state of a training, saved now and then, from which it resumes to the bit after its process was ended."""

import hashlib
import json
import os
import shutil
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np

from powerbert_tf.batches.padded_batches import Batches
from powerbert_tf.common.errors import InputError
from powerbert_tf.common.files import sha256, sync
from powerbert_tf.common.reporting import say
from powerbert_tf.common.termination import Terminated, waiting, was_asked
from powerbert_tf.training.distribution.devices import Trainer
from powerbert_tf.training.distribution.processes import by_chief, in_any, is_chief
from powerbert_tf.training.settings import TrainingSettings

WEIGHTS_FILE = "model.weights.h5"
LOG_FILE = "log.jsonl"
CHECKPOINTS = "checkpoints"  # folder of a training that is not finished
_KEPT = 2  # the last state, and the one before it in case that is damaged
_CHECKSUMS = "sha256.json"
_NEW = ".new"
_STATE_FILE, _ARRAYS_FILE = "state.json", "variables.npz"


class SavedStates:
    """States in folders `<number>/`, the newest with the largest number; the last two are kept.

    A state is either complete, with a checksum for each file, or not there. The first one creates `folder`.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def save(self, write: Callable[[Path], None]) -> None:
        """Removes all states but the newest, calls `write` on a new folder, and renames it once it is on the disk.

        So there are never more than two, which are large.

        Raises:
            OSError: It cannot be written; the newest state is kept.
        """
        numbers = self._numbers()
        for number in numbers[: 1 - _KEPT]:
            shutil.rmtree(self.folder / str(number))
        new = self.folder / _NEW
        shutil.rmtree(new, ignore_errors=True)  # left by a process that was killed
        new.mkdir(parents=True)
        try:
            write(new)
            checksums = {path.name: sha256(path) for path in sorted(new.iterdir())}
            (new / _CHECKSUMS).write_text(json.dumps(checksums, indent=1) + "\n", encoding="utf-8")
            for path in (*new.iterdir(), new):
                sync(path)
            new.rename(self.folder / str(numbers[-1] + 1 if numbers else 1))
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
        sync(self.folder)

    def newest(self) -> Path | None:
        """Folder of the newest intact state, or None; reports and removes damaged ones."""
        for number in reversed(self._numbers()):
            folder = self.folder / str(number)
            if not (damage := _damage(folder)):
                return folder
            say(f"  {folder}: damaged ({damage}); using the checkpoint before it, if there is one")
            shutil.rmtree(folder)
        return None

    def clear(self) -> None:
        """Removes all states."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _numbers(self) -> list[int]:
        return sorted(int(path.name) for path in self.folder.glob("*") if path.name.isdecimal())


def _damage(folder: Path) -> str:
    """What is wrong with a state; empty if nothing is."""
    try:
        checksums = json.loads((folder / _CHECKSUMS).read_text(encoding="utf-8"))
        for name, expected in checksums.items():
            if sha256(folder / name) != expected:
                return f"{name} has another SHA-256 than when it was written"
    except OSError as error:
        return f"{Path(error.filename or folder).name}: {error.strerror}"
    except (ValueError, AttributeError):  # no JSON, no object
        return f"{_CHECKSUMS} cannot be read"
    return ""


def link_or_copy(source: Path, target: Path) -> None:
    """Gives a file that is replaced but never written to a second name; copies it where there are no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _take_files(source: Path | None, target: Path) -> None:
    """Replaces weights and log in `target` by those of `source`, if it has any."""
    # The log grows, so it must be copied; weights are only ever replaced.
    for name, take in ((WEIGHTS_FILE, link_or_copy), (LOG_FILE, shutil.copyfile)):
        (target / name).unlink(missing_ok=True)
        if source and (source / name).exists():
            take(source / name, target / name)


class TrainingState(keras.callbacks.Callback):
    """Saves the state of a training every so often, and restores it; must be the last callback but those that set up.

    A callback that remembers anything from step to step has `get_state()`, which returns JSON values, and
    `set_state(values)`.

    Attributes:
        step: Number of steps done.
        finished: Whether nothing is left to do.
        last_saved: Names the last good checkpoint in messages.

    Args:
        folder: Folder of the stage; states go into `checkpoints/` there. Its weights and log become those of the
            restored state, or are removed if there is none. None to save nothing.
        plan: Identifies the training, JSON values by name, with `title` and `epochs`; other trainings are not resumed.
        steps_per_epoch: Number of steps.
        settings: Say how often to save.
        remembering: Callbacks whose state, if they have any, is saved as well.
    """

    def __init__(
        self,
        folder: Path | None,
        plan: Mapping[str, Any],
        steps_per_epoch: int,
        settings: TrainingSettings,
        remembering: Sequence[keras.callbacks.Callback] = (),
    ):
        super().__init__()
        self.folder = folder
        self.saves = folder is not None
        self.title: str = plan["title"]
        self.epochs: int = plan["epochs"]
        self.steps_per_epoch = steps_per_epoch
        self.step = 0
        self.finished = False
        self.last_saved = "there is no checkpoint yet"
        self._plan = dict(plan)
        self._seconds, self._every = 60 * settings.checkpoint_minutes, settings.checkpoint_steps
        self._remembering = [callback for callback in remembering if hasattr(callback, "get_state")]
        self._states = SavedStates(Path() if folder is None else folder / CHECKPOINTS)
        self._evaluated = self._stopped = False
        self._to_restore: Path | None = None
        self._carried: list[Any] | None = None
        if self.saves:
            self._resume()

    @property
    def epoch_to_end(self) -> int | None:
        """The 0-based epoch whose steps are all done but whose evaluation is not; or None."""
        is_over = self.step > 0 and (self._stopped or self.step % self.steps_per_epoch == 0)
        return (self.step - 1) // self.steps_per_epoch if is_over and not self._evaluated else None

    def on_epoch_begin(self, epoch, logs=None):
        if self._to_restore:  # after `fit` has reset the metrics
            self._restore(self._to_restore)
            self._to_restore = None
        elif self._carried:
            self._restore_callbacks(self._carried)
        self._saved_at = time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        self._evaluated, self._stopped = False, self.model.stop_training
        self._end_if_asked()
        if not self.saves:
            return
        by_steps = self._every and self.step % self._every == 0
        if by_steps or (self._seconds and time.monotonic() - self._saved_at >= self._seconds):
            self.save()

    def on_epoch_end(self, epoch, logs=None):
        self._evaluated = True
        self._end_if_asked()

    def on_train_end(self, logs=None):
        self._carried = self._remembered()  # when `fit` is called again, other callbacks begin anew

    def _end_if_asked(self) -> None:
        if in_any(was_asked()):  # processes end together, after the same step
            raise Terminated  # `fit_resumable` saves

    def save(self) -> bool:
        """Saves the state, which is the same in all processes, by the chief; returns whether that was possible.

        If the disk is full, it says so, and training continues.

        Raises:
            InputError: A variable is no longer finite.
        """
        if not self.saves:
            return False
        if not is_chief():
            return True
        try:
            self._states.save(self._write)
        except OSError as error:
            say(f"  {self.title}: no checkpoint at step {self.step} ({error.strerror or error})")
            return False
        finally:
            self._saved_at = time.monotonic()
        self.last_saved = f"the last good checkpoint is of step {self.step}"
        return True

    def finish(self) -> None:
        """Saves the state of callbacks once all is done, as the stage may have much left to do; weights are there."""
        self.finished = True
        if self._seconds or self._every:
            self.save()

    def _write(self, folder: Path) -> None:
        state = {
            "plan": self._plan,
            "step": self.step,
            "evaluated": self._evaluated,
            "stopped": bool(self._stopped),
            "finished": self.finished,
            "callbacks": self._remembered(),
        }
        (folder / _STATE_FILE).write_text(json.dumps(state) + "\n", encoding="utf-8")
        _take_files(self.folder, folder)
        if self.finished:
            return
        # One after the other: all of them at once would be the model three times more in memory.
        with zipfile.ZipFile(folder / _ARRAYS_FILE, "w") as archive:
            for number, variable in enumerate(self._variables()):
                array = np.asarray(keras.ops.convert_to_numpy(variable))
                if not np.all(np.isfinite(array)):
                    raise InputError(
                        f"{self.title}: {variable.path} is no longer finite after step {self.step}; {self.last_saved}; "
                        "lower --learning_rate or set --clipnorm=1."
                    )
                entry = zipfile.ZipInfo(f"{number}.npy")
                # Moments of words that no text has are zeros, which take no room when they are compressed.
                if np.count_nonzero(array) < array.size / 2:
                    entry.compress_type = zipfile.ZIP_DEFLATED
                with archive.open(entry, "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, array, allow_pickle=False)

    def _variables(self) -> list[keras.Variable]:
        self.model.optimizer.build(self.model.trainable_variables)
        variables = [*self.model.variables, *self.model.optimizer.variables, *self.model.metrics_variables]
        return list({id(variable): variable for variable in variables}.values())

    def _resume(self) -> None:
        found = by_chief(self._find)
        if found is None:
            return
        self._to_restore = Path(found)
        state = _read(self._to_restore)
        self.step = state["step"]
        self._evaluated, self._stopped = state["evaluated"], state["stopped"]
        self.last_saved = f"the last good checkpoint is of step {self.step}"
        total = self.steps_per_epoch * self.epochs
        # `state["finished"]` alone would miss a process that was ended just before it was saved.
        self.finished = state["finished"] or (self._evaluated and (self._stopped or self.step == total))
        say(f"  {self.title}: resumes from its checkpoint after step {self.step} of {total}")

    def _find(self) -> str | None:
        """Finds the newest state of this training, and takes its files."""
        newest = self._states.newest()
        if newest and (plan := _read(newest)["plan"]) != self._plan:
            different = sorted(name for name in self._plan if plan.get(name) != self._plan[name])
            say(f"  {newest}: of another training ({', '.join(different)} differ); starting again")
            newest = None
        if newest is None:
            self._states.clear()
        _take_files(newest, cast(Path, self.folder))
        return str(newest) if newest else None

    def restore_finished(self) -> None:
        """Restores the callbacks of a finished training."""
        if self._to_restore:
            self._restore_callbacks(_read(self._to_restore)["callbacks"])

    def _restore(self, folder: Path) -> None:
        with np.load(folder / _ARRAYS_FILE, allow_pickle=False) as arrays:
            for number, variable in enumerate(self._variables()):
                variable.assign(arrays[str(number)])
        self._restore_callbacks(_read(folder)["callbacks"])
        self.model.stop_training = self._stopped

    def _remembered(self) -> list[Any]:
        return [callback.get_state() for callback in self._remembering]

    def _restore_callbacks(self, states: Sequence[Any]) -> None:
        for callback, values in zip(self._remembering, states, strict=True):
            callback.set_state(values)


def _read(folder: Path) -> dict[str, Any]:
    return json.loads((folder / _STATE_FILE).read_text(encoding="utf-8"))


def fit_resumable(
    trainer: Trainer,
    state: TrainingState,
    batches: Batches,
    callbacks: Sequence[keras.callbacks.Callback],
    at_first: keras.callbacks.Callback,
) -> None:
    """Trains from where the state is to the end.

    Args:
        trainer: Does the steps.
        state: One of the callbacks.
        batches: Batches of all epochs.
        callbacks: All but the next.
        at_first: A callback that is needed only when training begins in this process.

    Raises:
        Terminated: The process was asked to end; the message says what was saved.
    """
    model, steps, epochs = trainer.model, state.steps_per_epoch, state.epochs

    def listed(*more: keras.callbacks.Callback) -> keras.callbacks.CallbackList:
        return keras.callbacks.CallbackList(
            [*callbacks, *more], add_history=True, model=model, epochs=epochs, steps=steps
        )

    def fit() -> None:
        if (epoch := state.epoch_to_end) is not None:
            end = listed()
            end.on_train_begin()
            end.on_epoch_begin(epoch)
            end.on_epoch_end(epoch, model.get_metrics_result())
            end.on_train_end()
            if model.stop_training:
                return
        further: tuple[keras.callbacks.Callback, ...] = (at_first,)
        # First the rest of an epoch, then whole epochs: Keras takes one number of steps for all.
        for whole in (False, True):
            epoch, within = divmod(state.step, steps)
            if epoch == epochs or whole == (within > 0):
                continue
            trainer.fit(
                batches.select(slice(state.step, None)),
                initial_epoch=epoch,
                epochs=epochs if whole else epoch + 1,
                steps_per_epoch=steps - within,
                shuffle=False,  # the batches already are
                verbose=0,
                callbacks=listed(*further),
            )
            further = ()
            if model.stop_training:
                return

    if state.finished:
        listed()  # gives the callbacks their model
        state.restore_finished()
        return
    try:
        with waiting():
            fit()
    except Terminated:
        saved = state.save()
        at = f"step {state.step} of {steps * epochs}"
        raise Terminated(f"{state.title}: {'saved' if saved else 'could not be saved'} after {at}") from None
    state.finish()


def fingerprint(model: keras.Model) -> str:
    """A hash of all weights: SHA-256, the first 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for variable in model.weights:
        digest.update(np.ascontiguousarray(keras.ops.convert_to_numpy(variable)).tobytes())
    return digest.hexdigest()[:16]
