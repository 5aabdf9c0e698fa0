"""The version that answers: the newest in a folder. A newer one takes its place between two batches."""

import asyncio
import gc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from powerbert_tf.common.errors import InputError, first_line
from powerbert_tf.common.reporting import say
from powerbert_tf.server.answers import Answer, Model
from powerbert_tf.server.request_bodies import Row
from powerbert_tf.server.version_folders import content_of, is_version, newest_version


class Versions:
    """The model that answers now, and its successors.

    Args:
        folder: Folder of versions; or a version, or the file of a deployed form, which then stays.
        load: Loads the folder of a version, or the file.

    Raises:
        InputError: There is no version, or it cannot be loaded.
    """

    def __init__(self, folder: Path, load: Callable[[Path], Model]):
        self._folder = folder
        self._load = load
        self._stays = is_version(folder) or folder.is_file()
        version = folder if self._stays else newest_version(folder)
        if version is None:
            raise InputError(f"{folder}: has no version of an exported model; run --stage=export.")
        self._seen = self._tried = content_of(version)
        self.model = load(version)
        self.path = version

    def answer(self, rows: Sequence[Row]) -> list[Answer]:
        """Answers with the version of now; one that takes fewer rows than its predecessor gets them in turns."""
        model = self.model
        most = model.most_rows or len(rows)
        return [answer for start in range(0, len(rows), most) for answer in model.answer(rows[start : start + most])]

    async def watch(self, seconds: float, between_batches: Callable[[Callable[[], Any]], Any]) -> None:
        """Looks into the folder for ever, and replaces the model by a newer one, or by an older one if it is removed.

        A version is loaded and answers some texts before it takes over. One that cannot be loaded is reported once.

        Args:
            seconds: Between two looks.
            between_batches: Calls a function when no batch is being answered.
        """
        while not self._stays:
            await asyncio.sleep(seconds)
            found = await asyncio.to_thread(self._settled)
            if found is None:
                continue
            try:
                model = await asyncio.to_thread(self._successor, found)
            except Exception as error:  # whatever is wrong with it, the version of now answers
                say(f"{first_line(error)} Version {self.model.version} stays.", is_warning=True)
                continue
            self.model, self.path = model, found
            del model
            await between_batches(gc.collect)  # what TensorFlow holds of the model before is in circles
            say(f"serving {found}")

    def _settled(self) -> Path | None:
        """The newest version, if it is another one than the last that was tried and no file of it has just changed."""
        found = newest_version(self._folder)
        before, self._seen = self._seen, content_of(found)
        if not self._seen or self._seen != before or self._seen == self._tried:
            return None
        self._tried = self._seen
        return found

    def _successor(self, path: Path) -> Model:
        model = self._load(path)
        if model.inputs != self.model.inputs:
            inputs = " and ".join(model.inputs)
            raise InputError(f"{path}: takes {inputs}, another request; start a server of its own.")
        return model
