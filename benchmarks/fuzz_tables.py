"""Wrong data: tables of examples, and what describes a task."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import fuzz_corpus as corpus
from benchmarks.fuzz_kind import Kind, require
from benchmarks.fuzz_mutations import mutate_bytes, mutate_json
from powerbert_tf.data.glue import read_tsv
from powerbert_tf.data.tasks import TASK_FILE, TASKS
from powerbert_tf.runs.request import read_request
from powerbert_tf.runs.settings import FIELDS, Settings


def tsv(folder: Path) -> Kind:
    """GLUE's files, and a table of one's own."""
    folder.mkdir(parents=True)
    corpus.write_data(folder)
    split, own = folder / "split.tsv", folder / "own.tsv"
    cases = [
        (TASKS["SST-2"], True, folder / "SST-2" / "dev.tsv"),
        (TASKS["SST-2"], False, folder / "SST-2" / "test.tsv"),
        (TASKS["STS-B"], True, folder / "STS-B" / "dev.tsv"),
    ]
    sound = [*(path.read_bytes() for _, _, path in cases), own.read_bytes()]
    words = [b"\t", b"\t\t", b"\n", b'"', b"1\n", b"2\n", b"-1", b"nan", b"\x85", b"sentence\tlabel", b"\\", b"\t5.0\n"]
    given: dict[str, Any] = {"train_file": str(own), "text_column": "text", "label_column": "label"}

    def mutate(draw: random.Random) -> bytes:
        which = draw.randrange(len(sound))
        return bytes([which]) + mutate_bytes(sound[which], draw, words)

    def read(data: bytes) -> None:
        if data[0] == len(cases):
            own.write_bytes(data[1:])
            for more in ({}, {"on_bad_row": "skip", "quoting": "none"}):
                _, read_data = read_request({**given, **more})
                assert read_data is not None
                labels = read_data.dataset.splits["train"].labels
                assert labels is not None
                require(bool(np.all(np.isfinite(labels))), "labels that are no numbers")
            return
        task, labeled, _ = cases[data[0]]
        split.write_bytes(data[1:])
        rows = read_tsv(split, task.labeled if labeled else task.unlabeled, task.classes, labeled)
        written = data[1:].removeprefix(b"\xef\xbb\xbf").decode("utf-8").split("\n")
        while written and not written[-1].removesuffix("\r"):
            written.pop()
        require(len(rows) + rows.bad_rows == len(written) - 1, "not all rows")
        if rows.labels is not None:
            require(bool(np.all(np.isfinite(rows.labels))), "labels that are no numbers")

    return Kind(tuple(bytes([which]) + content for which, content in enumerate(sound)), mutate, read)


def task(folder: Path) -> Kind:
    """`task.json`."""
    folder.mkdir(parents=True)
    corpus.write_data(folder)
    path = folder / TASK_FILE
    words = [*FIELDS, "SST-2", "balanced", "macro_f1", "text_pair_column"]

    def mutate(draw: random.Random) -> bytes:
        return mutate_json(dict(corpus.TASK), draw, words)

    def read(data: bytes) -> None:
        path.write_bytes(data)
        settings, own = read_request({"task": str(path)})
        require(isinstance(settings, Settings), "no settings")
        if own is not None:
            require(len(own.dataset.splits["train"]) > 0, "no rows")

    return Kind((json.dumps(dict(corpus.TASK)).encode(),), mutate, read)
