"""Where stages leave their results and models: in memory, or in the folder of a run (`folder.RunFolder`)."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import keras

from powerbert_tf.common.errors import InputError
from powerbert_tf.models.classifier import BertClassifier
from powerbert_tf.models.narrow import prefix


class Results(Protocol):
    """What stages need of either place."""

    def result(self, stage: str) -> dict[str, Any] | None:
        """The result of a finished stage; None if it has not run."""
        ...

    def finished(self, stage: str) -> dict[str, Any]:
        """The result of a finished stage.

        Raises:
            InputError: It is missing.
        """
        ...

    def begun(self, stage: str) -> dict[str, Any] | None:
        """The settings of a stage that was interrupted and can resume; None if there is none."""
        ...

    def writing(
        self, stage: str, settings: dict[str, Any], before_publishing: Callable[[], None] = lambda: None
    ) -> AbstractContextManager[Path | None]:
        """A block that runs a stage; gives the folder for its files, or None if none are kept."""
        ...

    def record(self, stage: str, result: dict[str, Any]) -> None:
        """Keeps the result of the stage whose `writing` block this is."""
        ...

    def keep(self, stage: str, model: BertClassifier, is_saved: bool = False) -> None:
        """Keeps the model of the stage whose `writing` block this is.

        `is_saved` says that training has written its weights into the stage's folder, if there is one.
        """
        ...

    def model(self, stage: str, make: Callable[[], BertClassifier], own: bool = False) -> BertClassifier:
        """The model of a finished stage.

        Args:
            stage: Its name.
            make: Makes a model of its shape.
            own: Whether the caller will train it.

        Raises:
            InputError: Its weights cannot be read.
        """
        ...

    def require_writable(self, needed_bytes: int, of_checkpoints: int = 0) -> None:
        """Checks that there is room for files."""
        ...


class MemoryResults:
    """Results and models in memory. A model is handed out as it is, and as a copy to who trains it."""

    def __init__(self) -> None:
        self._results: dict[str, dict[str, Any]] = {}
        self._models: dict[str, BertClassifier] = {}

    def result(self, stage: str) -> dict[str, Any] | None:
        return self._results.get(stage)

    def finished(self, stage: str) -> dict[str, Any]:
        if stage not in self._results:
            raise InputError(f"{stage}: there is no result of this stage.")
        return self._results[stage]

    def begun(self, stage: str) -> dict[str, Any] | None:
        return None

    @contextlib.contextmanager
    def writing(
        self, stage: str, settings: dict[str, Any], before_publishing: Callable[[], None] = lambda: None
    ) -> Iterator[Path | None]:
        yield None
        before_publishing()

    def record(self, stage: str, result: dict[str, Any]) -> None:
        self._results[stage] = result

    def keep(self, stage: str, model: BertClassifier, is_saved: bool = False) -> None:
        if stage == "retrain":
            self._models.pop("search", None)  # which was trained in place
        self._models[stage] = model

    def model(self, stage: str, make: Callable[[], BertClassifier], own: bool = False) -> BertClassifier:
        if stage not in self._models:
            raise InputError(f"{stage}: its model is no longer in memory.")
        found = self._models[stage]
        if found.encoders[0].compute_dtype != keras.config.dtype_policy().compute_dtype:
            other = make()
            other.set_weights(found.get_weights())
            return other
        return prefix(found) if own else found

    def require_writable(self, needed_bytes: int, of_checkpoints: int = 0) -> None:
        pass  # nothing is written

    def forget(self, stage: str) -> None:
        """Frees the memory of a model that is no longer needed; its result stays."""
        self._models.pop(stage, None)
