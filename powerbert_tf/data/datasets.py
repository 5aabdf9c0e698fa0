"""Finds the data of a task: its files, TensorFlow Datasets, or the generated sample."""

import dataclasses
import hashlib
import os
import tempfile
import textwrap
from pathlib import Path

from powerbert_tf.common.errors import InputError
from powerbert_tf.common.reporting import say
from powerbert_tf.data.glue import read_tsv
from powerbert_tf.data.race import read_race
from powerbert_tf.data.sample.files import MARK, write_sample
from powerbert_tf.data.splits import Split
from powerbert_tf.data.tasks import AX, AX_SPLIT, ChoiceTask, GlueTask
from powerbert_tf.data.text_columns import in_blocks
from powerbert_tf.data.tfds import is_prepared, load_from_tfds, tfds_folder

_BANNER_WIDTH = 80


@dataclasses.dataclass(frozen=True)
class Dataset:
    """The data of one task.

    Attributes:
        source: "tsv" (files of GLUE), "files" (RACE's or a user's own), "memory" (a user's own), "tfds" (TensorFlow
            Datasets) or "sample" (generated; results on it say nothing about the task).
        location: The folder or the TFDS name, for messages.
        splits: `train`, `dev` and `test`; a user's own data may lack `test`.
        classes: Names of the classes of a user's own data; empty for a published task, which has them itself.
    """

    source: str
    location: str
    splits: dict[str, Split]
    classes: tuple[str, ...] = ()

    def fingerprint(self) -> str:
        """Returns the first 16 hexadecimal digits of the SHA-256 of all texts and labels."""
        digest = hashlib.sha256()
        for name, split in self.splits.items():
            digest.update(name.encode())
            for column in split.texts:
                for number, block in enumerate(in_blocks(column)):
                    digest.update(b"\0" if number else b"")
                    digest.update("\0".join(block).encode("utf-8", "surrogatepass"))
            if split.labels is not None:
                digest.update(split.labels.tobytes())
        if self.classes:
            digest.update("\0".join(self.classes).encode("utf-8"))
        return digest.hexdigest()[:16]


def load_dataset(task: GlueTask | ChoiceTask, data_dir: str | os.PathLike) -> Dataset:
    """Loads the data of a published task.

    A GLUE task takes the first of these that exists: the files of `<data_dir>/<task.folder>`; `glue/<task.tfds_name>`
    of TensorFlow Datasets; the sample in `<data_dir>/sample/<task.folder>`, which is generated if it is missing. A
    sample is always announced by a banner on stderr. Multiple choice takes only the files.

    Raises:
        InputError: The task's folder lacks a file, a file or a prepared TFDS data set cannot be read, or the sample
            cannot be written.
    """
    data_dir = Path(data_dir)
    folder = data_dir / task.folder
    if isinstance(task, ChoiceTask):
        return Dataset("files", str(folder), read_race(folder, task))
    if os.path.lexists(folder):
        source = "sample" if (folder / MARK).exists() else "tsv"
        if source == "sample":
            say(_banner(task, f"{folder} holds a small generated sample."), is_warning=True)
        return Dataset(source, str(folder), _read_folder(folder, task) | _read_diagnostics(data_dir, task))
    splits = load_from_tfds(task)
    if splits is not None:
        return Dataset("tfds", f"glue/{task.tfds_name}", splits | _read_diagnostics(data_dir, task))
    sample = data_dir / "sample" / task.folder
    _ensure_sample(sample, task)
    say(
        _banner(
            task,
            f"No real data of {task.name} was found; this run uses a small generated sample in {sample}.",
            f"Looked for: the folder {folder}; TensorFlow Datasets glue/{task.tfds_name} in {tfds_folder()} and on the "
            "network (the log says why not).",
            f"What to do: put {', '.join(task.files.values())} into {folder}, or prepare TensorFlow Datasets on a "
            f"machine with network: tfds build glue/{task.tfds_name}",
        ),
        is_warning=True,
    )
    return Dataset("sample", str(sample), _read_folder(sample, task))


def _read_folder(folder: Path, task: GlueTask) -> dict[str, Split]:
    if not folder.is_dir():
        raise InputError(f"{folder}: not a folder; expected a folder with {', '.join(task.files.values())}.")
    missing = [name for name in task.files.values() if not (folder / name).exists()]
    if missing:
        raise InputError(
            f"{folder}: {', '.join(missing)} missing; expected the files {', '.join(task.files.values())} of "
            f"{task.name}; add what is missing, or move the folder away to have the data looked for elsewhere."
        )
    return {
        split: read_tsv(
            folder / name,
            task.unlabeled if split.startswith("test") else task.labeled,
            task.classes,
            labeled=not split.startswith("test"),
        )
        for split, name in task.files.items()
    }


def _read_diagnostics(data_dir: Path, task: GlueTask) -> dict[str, Split]:
    """Returns AX as a further test split of a task that answers it, if there is its file or a prepared TFDS set."""
    if AX_SPLIT not in task.submissions:
        return {}
    for path in (data_dir / "AX" / "AX.tsv", data_dir / "diagnostic" / "diagnostic.tsv"):
        if path.exists():
            return {AX_SPLIT: read_tsv(path, AX.unlabeled, AX.classes, labeled=False)}
    splits = load_from_tfds(AX) if is_prepared(AX) else None
    return {AX_SPLIT: splits["test"]} if splits else {}


def _ensure_sample(folder: Path, task: GlueTask) -> None:
    """Generates missing files of the sample; a run that is killed leaves no half-written file behind."""

    def missing() -> list[str]:
        return [name for name in task.files.values() if not (folder / name).exists()]

    if not missing():
        return
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=folder.parent) as scratch:
            new = Path(scratch, task.folder)
            new.mkdir()
            write_sample(new, task)
            try:
                new.rename(folder)
            except OSError:
                # The folder exists: another process was faster, or it is MNLI's, which its three tasks share.
                for name in missing():
                    (new / name).replace(folder / name)
    except OSError as error:
        raise InputError(
            f"{folder}: the sample cannot be written ({error.strerror}); expected a writable data directory, or the "
            f"files of {task.name} in {folder.parent.parent / task.folder}."
        ) from error


def _banner(task: GlueTask, *reasons: str) -> str:
    found, *rest = reasons
    paragraphs = [
        f"WARNING: SAMPLE DATA, NOT {task.name}",
        f"{found} RESULTS ON IT MEAN NOTHING ABOUT {task.name}: they only show that the program runs.",
        *rest,
    ]
    wrap = textwrap.TextWrapper(_BANNER_WIDTH - 4, break_long_words=False, break_on_hyphens=False).wrap
    lines = [line for paragraph in paragraphs for line in ("", *wrap(paragraph))] + [""]
    width = max(map(len, lines))
    rule = "#" * (width + 4)
    return "\n".join([rule, *(f"# {line:<{width}} #" for line in lines), rule])
