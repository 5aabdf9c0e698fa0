"""A folder of the last states of something that goes on: each whole or not there, with a checksum of every file.

What a training goes on from when its process was ended: all that the next step depends on, saved now and then.
"""

import hashlib
import json
import os
import shutil
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from powerbert_tf.batches.batching import Batches
from powerbert_tf.common.errors import InputError
from powerbert_tf.common.files import sha256, sync
from powerbert_tf.common.reporting import say
from powerbert_tf.common.termination import Terminated, requested, waiting
from powerbert_tf.training.distribution.processes import by_chief, is_chief

WEIGHTS_FILE = "model.weights.h5"  # of a finished training
LOG_FILE = "log.jsonl"
CHECKPOINTS = "checkpoints"  # of a training that is not finished
_KEPT = 2  # the last one, and the one before it, should that be damaged
_CHECKSUMS = "sha256.json"
_NEW = ".new"


class SavedStates:
    """States in folders `<number>/`, the newest with the largest number; the last two stay.

    Args:
        folder: Made when the first one is saved.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def save(self, write: Callable[[Path], None]) -> Path:
        """Saves a state aside and names it when all of it is on the disk; then lets go of older ones.

        Args:
            write: Writes its files into a folder that is given.

        Returns:
            Its folder.

        Raises:
            OSError: It cannot be written; those before it stay.
        """
        numbers = self._numbers()
        new = self.folder / _NEW
        shutil.rmtree(new, ignore_errors=True)  # of a process that was killed
        new.mkdir(parents=True)
        try:
            write(new)
            checksums = {path.name: sha256(path) for path in sorted(new.iterdir())}
            (new / _CHECKSUMS).write_text(json.dumps(checksums, indent=1) + "\n", encoding="utf-8")
            for path in (*new.iterdir(), new):
                sync(path)
            saved = self.folder / str(numbers[-1] + 1 if numbers else 1)
            new.rename(saved)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
        sync(self.folder)
        for number in numbers[: 1 - _KEPT]:
            shutil.rmtree(self.folder / str(number))
        return saved

    def newest(self) -> Path | None:
        """Folder of the newest state that is as it was written, or None; damaged ones are named and removed."""
        for number in reversed(self._numbers()):
            folder = self.folder / str(number)
            damage = _damage(folder)
            if not damage:
                return folder
            say(f"  {folder}: damaged ({damage}); the checkpoint before it is taken, if there is one")
            shutil.rmtree(folder)
        return None

    def clear(self) -> None:
        """Removes them all."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _numbers(self) -> list[int]:
        if not self.folder.is_dir():
            return []
        return sorted(int(path.name) for path in self.folder.iterdir() if path.name.isdecimal())


def link_or_copy(source: Path, target: Path) -> None:
    """A second name for a file that is replaced and never written to; a copy where there are no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _damage(folder: Path) -> str:
    """What is wrong with a state; empty where nothing is."""
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


_STATE_FILE, _ARRAYS_FILE = "state.json", "variables.npz"


class TrainingState(keras.callbacks.Callback):
    """Saves the state of a training every so often, and takes one up; after all callbacks but those that only set up.

    A callback that remembers anything from step to step has `get_state()`, which returns JSON values, and
    `set_state(values)`.

    Attributes:
        step: Steps done.
        finished: Whether nothing is left to do.

    Args:
        folder: Of the stage; states go into `checkpoints/` there. Weights and log there are of the state that is taken
            up, or removed where there is none.
        plan: What the training is, JSON values by name; a state of another one is not taken up.
        title: For messages.
        steps_per_epoch: See there.
        epochs: How many.
        minutes: Between two states; 0 to save none for it.
        every: Steps between two states; 0 to save none for it.
        remembering: Callbacks whose state is part of it.
    """

    def __init__(
        self,
        folder: Path,
        plan: Mapping[str, Any],
        *,
        title: str,
        steps_per_epoch: int,
        epochs: int,
        minutes: float,
        every: int,
        remembering: Sequence[keras.callbacks.Callback] = (),
    ):
        super().__init__()
        self.folder = folder
        self.title = title
        self.steps_per_epoch = steps_per_epoch
        self.epochs = epochs
        self.step = 0
        self.finished = False
        self.last_saved = "there is no checkpoint yet"
        self._plan = dict(plan)
        self._seconds, self._every = 60 * minutes, every
        self._remembering = [callback for callback in remembering if hasattr(callback, "get_state")]
        self._states = SavedStates(folder / CHECKPOINTS)
        self._evaluated = self._stopped = False
        self._taken_up: Path | None = None
        self._carried: list[Any] | None = None
        self._take_up()

    @property
    def epoch_to_end(self) -> int | None:
        """The 0-based epoch whose steps are all done, and its evaluation is not; or None."""
        is_over = self.step > 0 and (self._stopped or self.step % self.steps_per_epoch == 0)
        return (self.step - 1) // self.steps_per_epoch if is_over and not self._evaluated else None

    def on_epoch_begin(self, epoch, logs=None):
        if self._taken_up:  # after `fit` has reset the metrics
            self._restore(self._taken_up)
            self._taken_up = None
        elif self._carried:
            self._restore_callbacks(self._carried)
        self._saved_at = time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        self._evaluated, self._stopped = False, self.model.stop_training
        if requested():
            raise Terminated  # `fit_on` saves
        if not is_chief():
            return
        by_steps = self._every and self.step % self._every == 0
        if by_steps or (self._seconds and time.monotonic() - self._saved_at >= self._seconds):
            self.save()

    def on_epoch_end(self, epoch, logs=None):
        self._evaluated = True
        if requested():
            raise Terminated

    def on_train_end(self, logs=None):
        self._carried = self._remembered()  # where `fit` is called again, others begin anew

    def save(self) -> bool:
        """Saves the state; a disk without room costs the state and not the training, and is told.

        Processes other than the chief have the same state, and leave it to that.

        Returns:
            Whether it was saved.

        Raises:
            InputError: A variable is no longer a finite number.
        """
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
        """Saves what is left when all is done: the callbacks' state, and no variables, as the kept weights are there.

        A stage may have much to do after its training.
        """
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
        for name in (WEIGHTS_FILE, LOG_FILE):
            if (self.folder / name).exists():
                # The log grows, so it must be copied; weights are replaced.
                take = link_or_copy if name == WEIGHTS_FILE else _copy
                take(self.folder / name, folder / name)
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
                with archive.open(f"{number}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, array, allow_pickle=False)

    def _variables(self) -> list[keras.Variable]:
        self.model.optimizer.build(self.model.trainable_variables)
        variables = [*self.model.variables, *self.model.optimizer.variables, *self.model.metrics_variables]
        return list({id(variable): variable for variable in variables}.values())

    def _take_up(self) -> None:
        """Goes on from the newest state."""
        found = by_chief(self._find)
        if found is None:
            return
        newest = Path(found)
        state = _read(newest)
        self.step = state["step"]
        self._evaluated, self._stopped = state["evaluated"], state["stopped"]
        self.last_saved = f"the last good checkpoint is of step {self.step}"
        total = self.steps_per_epoch * self.epochs
        # `state["finished"]` alone would miss a process that was ended just before it.
        self.finished = state["finished"] or (self._evaluated and (self._stopped or self.step == total))
        say(f"  {self.title}: goes on from its checkpoint after step {self.step} of {total}")
        self._taken_up = newest

    def _find(self) -> str | None:
        """Finds the folder of the newest state, and puts its files where the training left them."""
        newest = self._states.newest()
        state = None if newest is None else _read(newest)
        if newest is None or state is None or state["plan"] != self._plan:
            if state is not None:
                different = sorted(name for name in self._plan if state["plan"].get(name) != self._plan[name])
                say(f"  {newest}: of another training ({', '.join(different)} differ); begun anew")
            self._states.clear()
            for name in (WEIGHTS_FILE, LOG_FILE):
                (self.folder / name).unlink(missing_ok=True)
            return None
        for name in (WEIGHTS_FILE, LOG_FILE):
            (self.folder / name).unlink(missing_ok=True)
            if (newest / name).exists():
                take = link_or_copy if name == WEIGHTS_FILE else _copy
                take(newest / name, self.folder / name)
        return str(newest)

    def take_up_finished(self) -> None:
        """Gives the callbacks what they knew at the end."""
        if self._taken_up:
            self._restore_callbacks(_read(self._taken_up)["callbacks"])

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


def fit_on(
    trainer: keras.Model,
    state: TrainingState,
    batches: Batches,
    dataset: Callable[[Batches], Any],
    callbacks: Sequence[keras.callbacks.Callback],
    at_first: keras.callbacks.Callback,
    fit: Callable[..., Any] | None = None,
) -> None:
    """`fit` from where the state is to the end.

    Args:
        trainer: Compiled.
        state: Of its training; one of the callbacks.
        batches: Of all epochs.
        dataset: Makes of some of them what `fit` takes.
        callbacks: All but the next.
        at_first: One that is needed where training begins in this process.
        fit: In place of the trainer's own.

    Raises:
        Terminated: The process was asked to leave; the message says what was saved.
    """
    steps, epochs = state.steps_per_epoch, state.epochs

    def listed(*more: keras.callbacks.Callback) -> keras.callbacks.CallbackList:
        return keras.callbacks.CallbackList(
            [*callbacks, *more], add_history=True, model=trainer, epochs=epochs, steps=steps
        )

    def go_on() -> None:
        if (epoch := state.epoch_to_end) is not None:
            end = listed()
            end.on_train_begin()
            end.on_epoch_begin(epoch)
            end.on_epoch_end(epoch, trainer.get_metrics_result())
            end.on_train_end()
            if trainer.stop_training:
                return
        further: tuple[keras.callbacks.Callback, ...] = (at_first,)
        # What is left of an epoch, and whole ones: `fit` knows one number of steps.
        for whole in (False, True):
            epoch, within = divmod(state.step, steps)
            if epoch == epochs or whole == (within > 0):
                continue
            (fit or trainer.fit)(
                dataset(batches.after(state.step)),
                initial_epoch=epoch,
                epochs=epochs if whole else epoch + 1,
                steps_per_epoch=steps - within,
                shuffle=False,  # the batches already are
                verbose=0,
                callbacks=listed(*further),
            )
            further = ()
            if trainer.stop_training:
                return

    if state.finished:
        listed()  # tells them their model
        state.take_up_finished()
        return
    try:
        with waiting():
            go_on()
    except Terminated:
        saved = state.save()
        of = f"step {state.step} of {steps * epochs}"
        raise Terminated(f"{state.title}: {'saved' if saved else 'could not be saved'} after {of}") from None
    state.finish()


def fingerprint(model: keras.Model) -> str:
    """What tells these weights from others: SHA-256, the first 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for variable in model.weights:
        digest.update(np.ascontiguousarray(keras.ops.convert_to_numpy(variable)).tobytes())
    return digest.hexdigest()[:16]


def _read(folder: Path) -> dict[str, Any]:
    return json.loads((folder / _STATE_FILE).read_text(encoding="utf-8"))


def _copy(source: Path, target: Path) -> None:
    target.write_bytes(source.read_bytes())
