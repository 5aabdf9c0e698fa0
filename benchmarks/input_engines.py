"""The tokenizers that `benchmarks.input` compares, each in a process of its own.

`python -m benchmarks.input_engines JOB` answers with a JSON object a line: first `{"rows", "sha256", "first_seconds"}`,
what the first call made and how long it took; then, for each line `{"seconds"}`, `{"seconds": [...]}` of calls that
together take at least that long.
"""

import dataclasses
import hashlib
import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

OURS, CACHED, HUGGING_FACE = "ours", "ours, from disk", "Hugging Face tokenizers"
MODULES = {OURS: "tensorflow_text", CACHED: "tensorflow_text", HUGGING_FACE: "tokenizers"}


@dataclasses.dataclass(frozen=True)
class Job:
    """What to do.

    Attributes:
        engine: One of `MODULES`.
        cores: How many to use, at most.
        task: Whose texts, of all its splits.
        data_dir: Where they are.
        checkpoint: Whose vocabulary; empty for MiniLM.
        folder: For what is kept on disk.
    """

    engine: str
    cores: int
    task: str
    data_dir: str
    checkpoint: str
    folder: str


def is_missing(engine: str) -> bool:
    """Whether what the engine needs is not installed."""
    return importlib.util.find_spec(MODULES[engine]) is None


def digest(rows: Iterable[tuple[Any, Any]]) -> str:
    """SHA-256 of ids and segments, each `[n]`, of every row."""
    total = hashlib.sha256()
    for ids, segments in rows:
        total.update(np.int32(len(ids)).tobytes())
        total.update(np.asarray(ids, "int32").tobytes())
        total.update(np.asarray(segments, "int32").tobytes())
    return total.hexdigest()


def build(job: Job) -> tuple[int, Callable[[], Any], Callable[[Any], Iterable[tuple[Any, Any]]]]:
    """Number of rows, what is timed, and how to read ids and segments from what it gives."""
    from powerbert_tf.checkpoints import find_checkpoint
    from powerbert_tf.data.datasets import load_dataset
    from powerbert_tf.data.splits import Split
    from powerbert_tf.data.tasks import get_task
    from powerbert_tf.tokenizers.word_pieces import Tokenizer, is_cased, read_vocabulary

    task = get_task(job.task)
    vocabulary = read_vocabulary(find_checkpoint(job.checkpoint).folder / "vocab.txt")
    lower_case = not is_cased(vocabulary)
    splits = load_dataset(task, job.data_dir).splits.values()
    columns = tuple([text for split in splits for text in split.texts[number]] for number in range(1 + task.is_pair))
    num_rows = len(columns[0])

    if job.engine == HUGGING_FACE:
        import tokenizers

        os.environ["TOKENIZERS_PARALLELISM"] = "true"
        ids = {piece: number for number, piece in enumerate(vocabulary)}
        tokenizer = tokenizers.BertWordPieceTokenizer(ids, lowercase=lower_case)._tokenizer
        tokenizer.enable_truncation(task.max_seq_length)
        texts = list(zip(*columns, strict=True)) if task.is_pair else columns[0]
        # Without offsets, which nobody asks for here.
        return num_rows, lambda: tokenizer.encode_batch_fast(texts), lambda rows: ((r.ids, r.type_ids) for r in rows)

    from powerbert_tf.batches.batching import encode_split
    from powerbert_tf.batches.encoded_cache import load_encoded

    given = Split(columns, None, None), Tokenizer(vocabulary, lower_case), task.max_seq_length

    def rows(encoded):
        return zip(encoded.token_ids.to_list(), encoded.segment_ids.to_list(), strict=True)

    if job.engine == CACHED:
        return num_rows, lambda: load_encoded(*given, Path(job.folder)), rows
    return num_rows, lambda: encode_split(*given), rows


def main() -> None:
    """`python -m benchmarks.input_engines JOB`."""
    # Libraries print what they like; answers have a pipe of their own.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    job = Job(**json.loads(sys.argv[1]))
    # Before any library starts its threads, one for each core that it finds.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: job.cores])
    num_rows, run, read = build(job)
    began = time.perf_counter()
    made = run()
    first = time.perf_counter() - began
    answer = {"rows": num_rows, "sha256": digest(read(made)), "first_seconds": first}
    print(json.dumps(answer), file=answers, flush=True)
    run()
    for line in sys.stdin:
        least = json.loads(line)["seconds"]
        times: list[float] = []
        while sum(times) < least:
            began = time.perf_counter()
            run()
            times.append(time.perf_counter() - began)
        print(json.dumps({"seconds": times}), file=answers, flush=True)


if __name__ == "__main__":
    main()
