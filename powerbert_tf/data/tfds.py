"""Reads GLUE from TensorFlow Datasets: prepared on this machine, or downloaded if the network answers."""

import os
import re
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from powerbert_tf.common.errors import InputError
from powerbert_tf.data.splits import Split
from powerbert_tf.data.tasks import GlueTask

# Class names that TFDS and the files spell differently. TFDS lists the classes of MNLI in another order, too.
_FILE_SPELLINGS = {
    "cola": {"unacceptable": "0", "acceptable": "1"},
    "sst2": {"negative": "0", "positive": "1"},
    "mrpc": {"not_equivalent": "0", "equivalent": "1"},
    "qqp": {"not_duplicate": "0", "duplicate": "1"},
    "wnli": {"not_entailment": "0", "entailment": "1"},
}

# TFDS retries a host that does not answer for minutes, so each host is asked first.
_DOWNLOAD_HOST = "https://dl.fbaipublicfiles.com"
_MORE_HOSTS = {"mrpc": ("https://firebasestorage.googleapis.com",)}
PROBE_SECONDS = 5.0
_ROWS_AT_ONCE = 1024


def tfds_folder() -> str:
    """Returns the folder in which TensorFlow Datasets keeps its data: TFDS_DATA_DIR or ~/tensorflow_datasets."""
    return os.path.expanduser(os.environ.get("TFDS_DATA_DIR") or os.path.join("~", "tensorflow_datasets"))


def load_from_tfds(task: GlueTask) -> dict[str, Split] | None:
    """Loads the train, dev and test splits of `glue/<task.tfds_name>`, each in the order of the GLUE file.

    A data set prepared on this machine is read without touching the network. Otherwise it is downloaded; a network
    that does not answer costs about 5 seconds.

    Returns:
        The splits, or None if the data set is not prepared and cannot be downloaded (the reason is logged).

    Raises:
        InputError: The prepared data set cannot be read.
    """
    name = f"glue/{task.tfds_name}"
    prepared = newest_version(_glue_folder(task))
    if prepared is not None:
        import tensorflow_datasets as tfds  # takes seconds, and most runs read files

        try:
            return _read_splits(tfds.builder_from_directory(str(prepared)), task)
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"{prepared}: this prepared TFDS data set cannot be read ({one_line(error)}); expected {name}; "
                f"delete the folder to prepare it again."
            ) from error

    reason = _why_no_network((_DOWNLOAD_HOST, *_MORE_HOSTS.get(task.tfds_name, ())))
    if reason is None:
        try:
            import tensorflow_datasets as tfds

            builder = tfds.builder(name, data_dir=tfds_folder(), try_gcs=False)
            builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
            return _read_splits(builder, task)
        except InputError:
            raise
        except Exception as error:  # TFDS raises whatever its many parts raise.
            reason = one_line(error)
    logging.warning("TFDS %s is not prepared in %s and cannot be downloaded: %s.", name, tfds_folder(), reason)
    return None


def is_prepared(task: GlueTask) -> bool:
    """Whether `glue/<task.tfds_name>` is prepared on this machine."""
    return newest_version(_glue_folder(task)) is not None


def _glue_folder(task: GlueTask) -> Path:
    return Path(tfds_folder(), "glue", task.tfds_name)


def newest_version(folder: Path) -> Path | None:
    """Returns the folder of a data set's newest version that is prepared in `folder`; None if there is none."""
    versions = {
        tuple(map(int, info.parent.name.split("."))): info.parent
        for info in folder.glob("*/dataset_info.json")
        if re.fullmatch(r"\d+\.\d+\.\d+", info.parent.name)
    }
    return versions[max(versions)] if versions else None


def _why_no_network(urls: tuple[str, ...]) -> str | None:
    """Asks all hosts at the same time; returns None if each of them answers within `PROBE_SECONDS`."""
    # A key appears when its host has been asked; the value is the error, or None for an answer.
    outcomes: dict[str, str | None] = {}

    def ask(url: str) -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=PROBE_SECONDS):
                outcomes[url] = None
        except urllib.error.HTTPError as error:
            error.close()
            # A host that refuses this address answers; a server or gateway in trouble does not.
            outcomes[url] = None if error.code < 500 else one_line(error)
        except Exception as error:
            outcomes[url] = one_line(error)

    # In threads, as the look-up of a name has no time limit; daemons, so that one that hangs does not delay the exit.
    threads = [threading.Thread(target=ask, args=(url,), daemon=True) for url in urls]
    deadline = time.monotonic() + PROBE_SECONDS
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    for url in urls:
        outcome = outcomes.get(url, f"no answer in {PROBE_SECONDS:g} seconds")
        if outcome is not None:
            return f"{url}: {outcome}"
    return None


def _read_splits(builder: Any, task: GlueTask) -> dict[str, Split]:
    return {split: _read_split(builder, task, split, tfds_split) for split, tfds_split in task.tfds_splits.items()}


def _read_split(builder: Any, task: GlueTask, split: str, tfds_split: str) -> Split:
    import tensorflow_datasets as tfds

    columns: dict[str, list[np.ndarray]] = {feature: [] for feature in (*task.tfds_texts, "label", "idx")}
    for batch in tfds.as_numpy(builder.as_dataset(split=tfds_split).batch(_ROWS_AT_ONCE)):
        for feature, values in columns.items():
            values.append(batch[feature])
    idx, labels = np.concatenate(columns["idx"]), np.concatenate(columns["label"])
    # TFDS shuffles rows; `idx` is the place of a row in the GLUE file, which is also its index in a test file.
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
    """Maps the labels of TFDS, integers `[n]`, by name to positions in `task.classes`, int32 `[n]`.

    Raises:
        InputError: The label names are not those of the task, or a row has no label.
    """
    spellings = _FILE_SPELLINGS.get(task.tfds_name, {name: name for name in task.classes})
    names = info.features["label"].names
    if sorted(names) != sorted(spellings):
        raise InputError(
            f"TFDS {info.full_name}: its labels are {', '.join(names)}; expected {', '.join(spellings)}; "
            f"delete the prepared data set to prepare it again."
        )
    if labels.min() < 0:
        raise InputError(
            f"TFDS {info.full_name}: {np.sum(labels < 0)} rows of {tfds_split} have no label; expected one each."
        )
    return np.array([task.classes.index(spellings[name]) for name in names], np.int32)[labels]


def one_line(error: Exception) -> str:
    """Returns the type and the message of any error that TFDS may raise."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
