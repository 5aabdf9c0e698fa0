"""An exported model from text to answer, without Keras: `load_deployed`, and the process that measures a form."""

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from powerbert_tf.common.machine import peak_memory_bytes
from powerbert_tf.common.processes import milliseconds, use_cores
from powerbert_tf.export.deployment.texts import TOKENIZERS, Columns, load_encoder
from powerbert_tf.export.formats import DEFAULT_FORMAT
from powerbert_tf.export.loading import ID_INPUTS, load_litert, load_onnx, load_openvino, load_signatures

TEXT_SIGNATURE = "serve_text"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Served:
    """How a form is served: the content of its JSON file.

    Attributes:
        form: Its name in `forms.FORMS`.
        format: Its format, one of `EXPORT_FORMATS`.
        precision: float32, bfloat16 or int8.
        model: Folder of the model, relative to the file.
        lengths: Lengths that there are files for; empty for any length.
        texts: Names of the texts of a request.
        output: Name of the answers.
        classes: Class names, in the order of the answers; empty for a regression.
        thresholds: Least probability of each label to be an answer, of a multi-label task.
        max_seq_length: N.
        cores: Cores to use; 0 for all.
        tokenizer: The package that tokenizes, see `texts`; empty if the model takes texts.
        tokenizer_path: Its file or folder, relative to the file.
        pair_truncation: Which of two texts that are too long is cut.
        pad_id: Id of padding.
    """

    form: str
    format: str
    precision: str
    model: str
    lengths: tuple[int, ...]
    texts: tuple[str, ...]
    output: str
    classes: tuple[str, ...]
    thresholds: tuple[float, ...]
    max_seq_length: int
    cores: int
    tokenizer: str
    tokenizer_path: str
    pair_truncation: str
    pad_id: int

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "Served":
        """Reads the file that `--stage=deploy` writes.

        Raises:
            OSError: It cannot be read.
            ValueError: It is damaged.
        """
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        try:
            values: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value for name, value in content.items()
            }
            return cls(**values)
        except (TypeError, AttributeError) as error:
            raise ValueError(f"{path}: damaged ({error}); run --stage=deploy --overwrite.") from None


class Answerer:
    """A loaded form: call it with a list of texts, or with two lists for pairs.

    Attributes:
        served: What it was loaded from.
        classes: Class names, in the order of the answers.
    """

    def __init__(self, served: Served, answer: Callable[[Columns], np.ndarray]):
        self.served = served
        self.classes = served.classes
        self._answer = answer

    def __call__(self, *columns: Sequence[str]) -> np.ndarray:
        """Returns probabilities `[n, C]`, or the numbers `[n]` of a regression.

        Raises:
            ValueError: There are no texts, or another number of columns or of texts in them than the model takes.
        """
        names = self.served.texts
        if len(columns) != len(names) or len({len(column) for column in columns}) != 1 or not columns[0]:
            given = ", ".join(str(len(column)) for column in columns) or "none"
            raise ValueError(f"texts: {given}; expected as many, at least one, of {', '.join(names)}.")
        return self._answer(columns)


def load_deployed(path: str | os.PathLike[str]) -> Answerer:
    """Loads the form that `path`, such as `runs/MRPC/deploy/serve.json`, describes.

    It answers one call at a time, as runtimes keep memory between calls: threads need a form each, or a lock.

    Raises:
        OSError: A file cannot be read.
        ValueError: The file is damaged.
        ImportError: The runtime or its tokenizer is not installed.
    """
    served, folder = Served.read(path), Path(path).parent
    if not served.tokenizer:
        return Answerer(served, _load_saved_model(served, folder / served.model))
    _limit_tensorflow(served)
    encode = load_encoder(
        served.tokenizer,
        folder / served.tokenizer_path,
        served.max_seq_length,
        served.pair_truncation,
        served.pad_id,
    )
    run = _load_runtime(served, folder / served.model)
    return Answerer(served, lambda columns: run(encode(columns)))


def _limit_tensorflow(served: Served) -> None:
    """Sets the threads of TensorFlow, if something uses it and it has not begun."""
    if served.format != DEFAULT_FORMAT and served.tokenizer == TOKENIZERS:
        return
    import tensorflow as tf

    with contextlib.suppress(RuntimeError):  # it has begun
        tf.config.threading.set_intra_op_parallelism_threads(served.cores)
        tf.config.threading.set_inter_op_parallelism_threads(1)


def _load_saved_model(served: Served, folder: Path) -> Callable[[Columns], np.ndarray]:
    import tensorflow as tf

    _limit_tensorflow(served)
    predict = load_signatures(folder)[TEXT_SIGNATURE]

    def answer(columns: Columns) -> np.ndarray:
        texts = {name: tf.constant(list(column)) for name, column in zip(served.texts, columns, strict=True)}
        return predict(**texts)[served.output].numpy()

    return answer


def _load_runtime(served: Served, folder: Path) -> Callable[[Mapping[str, np.ndarray]], np.ndarray]:
    int8 = "-int8" * (served.precision == "int8")
    if served.format == "onnx":
        return load_onnx(folder / f"model{int8}.onnx", served.cores)
    if served.format == "openvino":
        precision = "bf16" if served.precision == "bfloat16" else "f32"
        return load_openvino(folder / f"model{int8}.xml", served.cores, precision)
    loaded: dict[int, Callable] = {}  # each file when it is first needed

    def run(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        length = next(length for length in served.lengths if length >= inputs[ID_INPUTS[0]].shape[1])
        if length not in loaded:
            loaded[length] = load_litert(folder / f"model-{length}{int8}.tflite", served.cores)
        return loaded[length](inputs)

    return run


def cut_calls(columns: Columns, batch_size: int) -> Iterator[list[Sequence[str]]]:
    """The texts of each call, in order; the last one may have fewer."""
    for start in range(0, len(columns[0]), batch_size):
        yield [column[start : start + batch_size] for column in columns]


def serve(served: str, requests: str, batch_size: int) -> tuple[dict[str, Any], Callable]:
    """Loads a form in a process of its own, see `processes`, and answers a first call before its first answer.

    A request `{"split"}` is answered by `{"answers"}` of a split of the JSON file `requests`, call by call. With
    `{"timed": true}`, the calls are then repeated and timed: `{"ms", "warm_seconds", "peak_bytes"}`.

    Args:
        served: Path of the form's file.
        requests: Path of a JSON object: the columns of texts of each split.
        batch_size: Requests of a call.
    """
    use_cores(Served.read(served).cores or os.cpu_count() or 1)
    splits = json.loads(Path(requests).read_text(encoding="utf-8"))
    answer = load_deployed(served)
    answer(*next(cut_calls(next(iter(splits.values())), batch_size)))

    def respond(given: Mapping[str, Any]) -> dict[str, Any]:
        calls = list(cut_calls(splits[given["split"]], batch_size))
        began = time.perf_counter()
        found = {"answers": np.concatenate([answer(*call) for call in calls]).tolist()}
        if not given.get("timed"):
            return found
        warm = time.perf_counter() - began
        times = [milliseconds(answer, *call) for call in calls]
        return {**found, "warm_seconds": warm, "ms": times, "peak_bytes": peak_memory_bytes()}

    return {"ready": True}, respond
