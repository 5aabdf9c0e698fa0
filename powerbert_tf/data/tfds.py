"""Reads GLUE from TensorFlow Datasets: prepared on this machine, or downloaded where the network answers.

Any text classification set of TensorFlow Datasets that is prepared on this machine, as tables.
"""

import os
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from powerbert_tf.common.errors import InputError
from powerbert_tf.data.splits import Split
from powerbert_tf.data.tables import Row, Table
from powerbert_tf.data.tables.row import cell_text, text_problem
from powerbert_tf.data.tasks import GlueTask

# Where TFDS differs from the class names of the files. It lists the classes of MNLI in another order, too.
_FILE_SPELLINGS = {
    "cola": {"unacceptable": "0", "acceptable": "1"},
    "sst2": {"negative": "0", "positive": "1"},
    "mrpc": {"not_equivalent": "0", "equivalent": "1"},
    "qqp": {"not_duplicate": "0", "duplicate": "1"},
    "wnli": {"not_entailment": "0", "entailment": "1"},
}

# TFDS retries a host that does not answer for minutes, so each host that it would turn to is asked first.
_DOWNLOAD_HOST = "https://dl.fbaipublicfiles.com"
_MORE_HOSTS = {"mrpc": ("https://firebasestorage.googleapis.com",)}
_PROBE_SECONDS = 5.0
_ROWS_PER_BATCH = 1024


def tfds_folder() -> str:
    """Returns the folder in which TensorFlow Datasets keeps its data: TFDS_DATA_DIR or ~/tensorflow_datasets."""
    return os.path.expanduser(os.environ.get("TFDS_DATA_DIR") or os.path.join("~", "tensorflow_datasets"))


def load_from_tfds(task: GlueTask) -> dict[str, Split] | None:
    """Loads the train, dev and test splits of `glue/<task.tfds_name>`, each in the order of the GLUE file.

    A data set prepared on this machine is read without touching the network. Otherwise it is downloaded; a network
    that does not answer costs about 5 seconds.

    Returns:
        The splits, or None where the data set is neither here nor to be downloaded (the reason is logged).

    Raises:
        InputError: A prepared data set is here and cannot be read.
    """
    name = f"glue/{task.tfds_name}"
    prepared = _newest_prepared(task)
    if prepared is not None:
        # Imported where it is needed: it takes seconds, and most runs read files.
        import tensorflow_datasets as tfds

        try:
            return _read_splits(tfds.builder_from_directory(str(prepared)), task)
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"{prepared}: this prepared TFDS data set cannot be read ({_one_line(error)}); expected {name}; "
                f"delete the folder to have it prepared anew."
            ) from error

    reason = _why_no_network((_DOWNLOAD_HOST, *_MORE_HOSTS.get(task.tfds_name, ())))
    if reason is None:
        try:
            return _download(task)
        except InputError:
            raise
        except Exception as error:  # TFDS raises whatever its many parts raise.
            reason = _one_line(error)
    logging.warning("TFDS %s is not prepared in %s and cannot be downloaded: %s.", name, tfds_folder(), reason)
    return None


def is_prepared(task: GlueTask) -> bool:
    """Whether `glue/<task.tfds_name>` is prepared on this machine."""
    return _newest_prepared(task) is not None


def _newest_prepared(task: GlueTask) -> Path | None:
    versions = Path(tfds_folder(), "glue", task.tfds_name).glob("*.*.*/dataset_info.json")
    numbered = [
        (tuple(int(number) for number in path.parent.name.split(".")), path.parent)
        for path in versions
        if re.fullmatch(r"\d+\.\d+\.\d+", path.parent.name)
    ]
    return max(numbered)[1] if numbered else None


def _why_no_network(urls: tuple[str, ...]) -> str | None:
    """Asks all hosts at the same time; returns None where each of them answers within `_PROBE_SECONDS`."""
    # A key appears when its host has been asked; the value is the error, or None for an answer.
    outcomes: dict[str, str | None] = {}

    def ask(url: str) -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_PROBE_SECONDS):
                outcomes[url] = None
        except urllib.error.HTTPError as error:
            error.close()
            # A refusal of this address is an answer of the host; a server or gateway in trouble is none.
            outcomes[url] = None if error.code < 500 else _one_line(error)
        except Exception as error:
            outcomes[url] = _one_line(error)

    # Threads because a look-up of a name has no time limit; daemons so that a hanging one does not hold up the exit.
    threads = [threading.Thread(target=ask, args=(url,), daemon=True) for url in urls]
    deadline = time.monotonic() + _PROBE_SECONDS
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    for url in urls:
        outcome = outcomes.get(url, f"no answer in {_PROBE_SECONDS:g} seconds")
        if outcome is not None:
            return f"{url}: {outcome}"
    return None


def _download(task: GlueTask) -> dict[str, Split]:
    import tensorflow_datasets as tfds

    builder = tfds.builder(f"glue/{task.tfds_name}", data_dir=tfds_folder(), try_gcs=False)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
    return _read_splits(builder, task)


def _read_splits(builder: Any, task: GlueTask) -> dict[str, Split]:
    return {split: _read_split(builder, task, split, tfds_split) for split, tfds_split in task.tfds_splits.items()}


def _read_split(builder: Any, task: GlueTask, split: str, tfds_split: str) -> Split:
    import tensorflow_datasets as tfds

    columns: dict[str, list[np.ndarray]] = {feature: [] for feature in (*task.tfds_texts, "label", "idx")}
    for batch in tfds.as_numpy(builder.as_dataset(split=tfds_split).batch(_ROWS_PER_BATCH)):
        for feature, values in columns.items():
            values.append(batch[feature])
    idx, labels = np.concatenate(columns["idx"]), np.concatenate(columns["label"])
    # TFDS stores rows shuffled; `idx` is their place in the GLUE file, which is also their index in a test file.
    order = np.argsort(idx, kind="stable")
    texts = tuple(
        [text.decode("utf-8") for text in np.concatenate(columns[feature])[order]] for feature in task.tfds_texts
    )
    if split.startswith("test"):
        return Split(texts=texts, labels=None, indices=[str(index) for index in idx[order]])
    if task.is_regression:
        return Split(texts=texts, labels=labels[order].astype(np.float32), indices=None)
    return Split(texts=texts, labels=_label_ids(labels[order], builder.info, task, tfds_split), indices=None)


def _label_ids(labels: np.ndarray, info: Any, task: GlueTask, tfds_split: str) -> np.ndarray:
    """Maps the labels of TFDS by name to positions in `task.classes`.

    Args:
        labels: Integer [n], positions in the label names of TFDS.
        info: Description of the data set, with the label names.
        task: The task.
        tfds_split: Name of the split, for messages.

    Returns:
        int32 [n].

    Raises:
        InputError: The label names are not those of the task, or a row has no label.
    """
    spellings = _FILE_SPELLINGS.get(task.tfds_name, {name: name for name in task.classes})
    names = info.features["label"].names
    if sorted(names) != sorted(spellings):
        raise InputError(
            f"TFDS {info.full_name}: its labels are {', '.join(names)}; expected {', '.join(spellings)}; "
            f"delete the prepared data set to have it prepared anew."
        )
    if labels.min() < 0:
        raise InputError(
            f"TFDS {info.full_name}: {np.sum(labels < 0)} rows of {tfds_split} have no label; expected one each."
        )
    return np.array([task.classes.index(spellings[name]) for name in names], np.int32)[labels]


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


_DEV = ("validation", "dev", "val", "validation_matched")
_TEST = ("test", "test_matched")
_LABELS = ("label", "score", "rating", "stars")
_ROWS_AT_ONCE = 1024


class TfdsText:
    """A prepared data set.

    Attributes:
        splits: `train`, `dev` and `test` -> its own name of the split; those that it has.
        text_columns: Its text features, at most the first two.
        label_column: Its class label, or a feature with a usual name; empty where there is neither.

    Args:
        name: Such as `imdb_reviews` or `glue/mrpc`.

    Raises:
        InputError: It is not prepared here, cannot be read, or has no training split.
    """

    def __init__(self, name: str):
        # Imported where it is needed: it takes seconds, and most runs read files.
        import tensorflow_datasets as tfds

        self.name = name
        folder = _find_prepared(name)
        try:
            self._builder = tfds.builder_from_directory(str(folder))
            # Sorted: read from files they come in another order each time.
            features = dict(sorted(self._builder.info.features.items()))
        except Exception as error:  # TFDS raises whatever its many parts raise
            raise InputError(f"{folder}: this prepared TFDS data set cannot be read ({_one_line(error)}).") from error
        self._scalars = [key for key, feature in features.items() if feature.shape == ()]
        self._classes = {
            key: feature.names for key, feature in features.items() if isinstance(feature, tfds.features.ClassLabel)
        }
        texts = [key for key in self._scalars if isinstance(features[key], tfds.features.Text)]
        self.text_columns = tuple(texts[:2])
        labels = [*self._classes, *(key for key in _LABELS if key in self._scalars)]
        self.label_column = labels[0] if labels else ""
        there = list(self._builder.info.splits)
        if "train" not in there:
            raise InputError(f"--tfds_name={name}: its splits are {', '.join(there)}; expected one named train.")
        self.splits = {"train": "train"}
        for split, names in (("dev", _DEV), ("test", _TEST)):
            found = [candidate for candidate in names if candidate in there]
            if found:
                self.splits[split] = found[0]

    def table(self, split: str) -> Table:
        """The rows of `train`, `dev` or `test`; a class label by its name, None where TFDS has -1."""
        return Table(self._place(split), tuple(self._scalars), self._rows(split))

    def _place(self, split: str) -> str:
        return f"tfds:{self.name}/{self.splits[split]}"

    def _rows(self, split: str) -> Iterator[Row]:
        import tensorflow_datasets as tfds

        dataset = self._builder.as_dataset(split=self.splits[split])
        batches = dataset.map(lambda example: {key: example[key] for key in self._scalars}).batch(_ROWS_AT_ONCE)
        number = 0
        for batch in tfds.as_numpy(batches):
            for values in zip(*(batch[key] for key in self._scalars), strict=True):
                number += 1
                cells = {key: self._cell(key, value) for key, value in zip(self._scalars, values, strict=True)}
                row = Row(self._place(split), number, cells)
                problems = (text_problem(text) for text in cells.values() if text is not None)
                problem = next(filter(None, problems), "")
                yield row.rejected(problem) if problem else row

    def _cell(self, key: str, value: Any) -> str | None:
        if key in self._classes:
            return self._classes[key][value] if value >= 0 else None
        return cell_text(value.item() if hasattr(value, "item") else value)


def _find_prepared(name: str) -> Path:
    """Folder of the newest version of a data set, or of its only configuration."""
    root = Path(tfds_folder(), name)

    def versions(pattern: str) -> dict[Path, list[tuple[tuple[int, ...], Path]]]:
        found: dict[Path, list[tuple[tuple[int, ...], Path]]] = {}
        for info in root.glob(f"{pattern}/dataset_info.json"):
            folder = info.parent
            if re.fullmatch(r"\d+\.\d+\.\d+", folder.name):
                number = tuple(int(part) for part in folder.name.split("."))
                found.setdefault(folder.parent, []).append((number, folder))
        return found

    found = versions("*") or versions("*/*")
    if not found:
        raise InputError(
            f"--tfds_name={name}: not prepared in {tfds_folder()}; on a machine with network: tfds build {name}, and "
            "set TFDS_DATA_DIR to its folder."
        )
    if len(found) > 1:
        names = ", ".join(sorted(f"{name}/{folder.name}" for folder in found))
        raise InputError(f"--tfds_name={name}: several configurations are prepared; expected one of {names}.")
    (candidates,) = found.values()
    return max(candidates)[1]
