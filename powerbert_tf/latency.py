"""What models and their parts take on this machine: milliseconds a batch, measured.

Parts of an encoder are timed as models of their own, from word-pieces to logits: a chain of encoders of which only
that part runs. The chain whose parts do nothing is what they have in common, and is subtracted.
"""

import dataclasses
import datetime
import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from absl import logging
from tqdm import tqdm

from powerbert_tf.bert_config import BertConfig
from powerbert_tf.cost import CostTable
from powerbert_tf.extract import Extract
from powerbert_tf.modeling import BertClassifier, EncoderBlock

if TYPE_CHECKING:
    from powerbert_tf.batching import EncodedSplit

PADDINGS = ("grouped", "batch", "max")

_INPUTS = ("token_ids", "segment_ids", "padding_mask")
_CURVES = ("attention", "extracting_attention", "feed_forward", "outside")

_CHAINED = 4  # encoders: enough that, as in a whole stack, no weights wait in the nearest cache
_SHORTEST_SECONDS = 4.0  # small models are measured more often
_LONGEST_SECONDS = 60.0  # large ones less often, but not below
_FEWEST_ROUNDS = 3
_BUSY = 1.25  # times that a usual call takes longer than the fastest: above, something else runs
_SMALLEST_MS = 1e-6  # a part never costs nothing, or less

_FORMAT = 1  # of the file; a change of what is measured changes it, too


def device_name() -> str:
    """What a measurement holds for: processor or accelerator, usable cores, backend and float type."""
    backend = keras.backend.backend()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    version = _backend_module().__version__
    policy = keras.config.dtype_policy().name
    return f"{_accelerator() or _processor()}, {cores} cores, {backend} {version}, {policy}"


def _backend_module() -> Any:
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as module
    elif backend == "jax":
        import jax as module
    elif backend == "torch":
        import torch as module
    else:
        raise ValueError(f"KERAS_BACKEND={backend}; expected tensorflow, jax or torch, with which latency is measured.")
    return module


def _accelerator() -> str:
    module = _backend_module()
    if keras.backend.backend() == "tensorflow":
        devices = module.config.list_physical_devices("GPU")
        return module.config.experimental.get_device_details(devices[0]).get("device_name", "GPU") if devices else ""
    if keras.backend.backend() == "jax":
        device = module.devices()[0]
        return "" if device.platform == "cpu" else device.device_kind
    return module.cuda.get_device_name() if module.cuda.is_available() else ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def compiled(model: keras.Model) -> Callable[[Mapping[str, Any]], Any]:
    """The model as it is deployed: compiled once for all lengths where the backend can, without training.

    Args:
        model: `{"token_ids", "segment_ids", "padding_mask"}` int32 `[B, T]` -> one tensor.

    Raises:
        ValueError: The backend is none of TensorFlow, JAX and PyTorch.
    """
    module = _backend_module()
    if keras.backend.backend() == "tensorflow":
        any_length = {name: module.TensorSpec([None, None], module.int32, name=name) for name in _INPUTS}
        return module.function(
            lambda inputs: model(inputs, training=False), input_signature=[any_length], autograph=False
        )
    if keras.backend.backend() == "jax":
        # Weights are arguments: as constants they would be compiled in.
        weights = [[variable.value for variable in model.trainable_variables]]
        weights.append([variable.value for variable in model.non_trainable_variables])
        stateless = module.jit(lambda weights, inputs: model.stateless_call(*weights, inputs, training=False)[0])
        return lambda inputs: stateless(weights, inputs)

    def without_gradient(inputs):
        with module.no_grad():
            return model(inputs, training=False)

    return without_gradient


def _milliseconds(function: Callable[[Any], Any], inputs: Any) -> float:
    start = time.perf_counter()
    keras.ops.convert_to_numpy(function(inputs))  # waits for the result
    return 1000 * (time.perf_counter() - start)


def _interleaved_times(
    functions: Mapping[str, Callable[[Any], Any]],
    inputs: Sequence[Any],
    is_enough: Callable[[int, float], bool],
    bar: tqdm,
) -> dict[str, np.ndarray]:
    """Milliseconds of each function on each input in each round, `[inputs, rounds]`.

    In a round all are called in turn, so that drift and noise meet all of them alike.

    Args:
        functions: By name.
        inputs: What each of them is called with.
        is_enough: Whether to stop, from the rounds that are done and the seconds that they took.
        bar: Is moved on by one for each call.
    """
    names = list(functions)
    for given in inputs:  # whatever is compiled or allocated on the first call is so before the first measurement
        for name in names:
            _milliseconds(functions[name], given)
            bar.update()
    times: dict[str, list[list[float]]] = {name: [[] for _ in inputs] for name in names}
    start, rounds = time.perf_counter(), 0
    while not is_enough(rounds, time.perf_counter() - start):
        first = rounds % len(names)
        for index, given in enumerate(inputs):
            for name in names[first:] + names[:first]:
                times[name][index].append(_milliseconds(functions[name], given))
                bar.update()
        rounds += 1
    return {name: np.array(of_inputs) for name, of_inputs in times.items()}


def _tensors(batch: Mapping[str, np.ndarray]) -> dict[str, Any]:
    return {name: keras.ops.convert_to_tensor(batch[name], dtype="int32") for name in _INPUTS}


def _progress_bar(title: str, total: int) -> tqdm:
    # Nothing where the console is a file.
    return tqdm(total=total, desc=title, unit="call", leave=False, dynamic_ncols=True, disable=None)


def measure_latency(
    models: Mapping[str, keras.Model], batches: Sequence[Mapping[str, np.ndarray]], repeats: int = 5
) -> dict[str, np.ndarray]:
    """Milliseconds of each model on each batch, `[batches]`, median over repeats.

    Args:
        models: By name; `{"token_ids", "segment_ids", "padding_mask"}` int32 `[B, T]` -> logits `[B, C]`. They are
            called compiled, and in turn.
        batches: Inputs of the models.
        repeats: How often each model is measured on each batch.

    Raises:
        ValueError: Keras runs on a backend for which nothing can be measured.
    """
    functions = {name: compiled(model) for name, model in models.items()}
    inputs = [_tensors(batch) for batch in batches]
    with _progress_bar("latency", (1 + repeats) * len(models) * len(batches)) as bar:
        times = _interleaved_times(functions, inputs, lambda rounds, seconds: rounds >= repeats, bar)
    return {name: np.median(of_model, axis=-1) for name, of_model in times.items()}


def latency_batches(
    encoded: "EncodedSplit", batch_size: int, padding: str = "grouped", max_batches: int = 12
) -> list[dict[str, np.ndarray]]:
    """Batches of a split to measure on.

    Args:
        encoded: The split, with at least one example.
        batch_size: B. What remains after the last full batch is left out, unless there is no full one.
        padding: `"grouped"`: examples are sorted by length, a batch is padded to its longest, as
            `cost.grouped_lengths` says; `"batch"`: in the order of the split, padded to the batch's longest; `"max"`:
            in that order, padded to N.
        max_batches: More batches than these are thinned out evenly.

    Returns:
        `{"token_ids", "segment_ids", "padding_mask"}` int32 `[B, T]` each.

    Raises:
        ValueError: `padding` is none of `PADDINGS`.
    """
    if padding not in PADDINGS:
        raise ValueError(f"padding={padding!r}; expected one of {', '.join(PADDINGS)}.")
    lengths = encoded.lengths
    order = np.argsort(lengths, kind="stable") if padding == "grouped" else np.arange(len(lengths))
    count = max(len(order) // batch_size, 1)
    numbers = np.arange(count)
    if count > max_batches:
        numbers = np.round(np.linspace(0, count - 1, max_batches)).astype(int)
    rows = [order[number * batch_size : (number + 1) * batch_size] for number in numbers]
    return [
        _padded(encoded, batch, encoded.max_seq_length if padding == "max" else lengths[batch].max()) for batch in rows
    ]


def _padded(encoded: "EncodedSplit", rows: np.ndarray, length: int) -> dict[str, np.ndarray]:
    positions = np.arange(length)
    mask = positions < encoded.lengths[rows][:, None]

    def dense(ragged, pad):
        values = ragged.flat_values.numpy()
        flat = ragged.row_starts().numpy()[rows][:, None] + positions
        return np.where(mask, values[np.minimum(flat, len(values) - 1)], pad).astype("int32")

    return {
        "token_ids": dense(encoded.token_ids, encoded.pad_id),
        "segment_ids": dense(encoded.segment_ids, 0),
        "padding_mask": mask.astype("int32"),
    }


class _AttentionHalf(EncoderBlock):
    """An encoder without its feed-forward network."""

    def feed_forward(self, word_vectors, training=False):
        return word_vectors


class _Chain(keras.Model):
    """Embeddings, one part of each of some encoders, pooler and head.

    Args:
        classifier: Whose embeddings, pooler and head are taken.
        encoders: A list of `EncoderBlock`; empty for what is outside of them.
        part: `(encoder, word_vectors [B, T, H], padding_mask [B, T]) -> word_vectors [B, any, H]`.
    """

    def __init__(self, classifier, encoders, part):
        super().__init__(name="chain")  # names with an underscore first are refused
        self.embeddings, self.pooler, self.classifier = map(
            classifier.get_layer, ("embeddings", "pooler", "classifier")
        )
        self.encoders = encoders
        self.part = part
        self.built = True  # all of its layers are

    def call(self, inputs, training=False):
        mask = inputs["padding_mask"]
        word_vectors = self.embeddings(inputs["token_ids"], inputs["segment_ids"])
        for encoder in self.encoders:
            # All rows stay, however many leave the part, and the next one cannot start before this one has ended.
            word_vectors = word_vectors + 1e-3 * self.part(encoder, word_vectors, mask)[:, :1]
        return self.classifier(self.pooler(word_vectors[:, 0]))


def _chains(config: BertConfig, max_seq_length: int) -> dict[str, _Chain]:
    classifier = BertClassifier(
        dataclasses.replace(config, num_hidden_layers=_chained(config)), num_classes=2, max_seq_length=max_seq_length
    )
    encoders = classifier.encoders

    def half(encoder, extract):
        block = _AttentionHalf(config, extract, shared=encoder, name="attention_half")
        block.build(*((None, None, config.hidden_size), (None, None), (None, None)))
        return block

    def attend(block, word_vectors, mask):
        return block(word_vectors, mask, mask)[0]

    # Half of the rows are gathered, as between what first and last encoders keep.
    extracting = [half(encoder, Extract(0.5, max_seq_length)) for encoder in encoders]
    return {
        "outside": _Chain(classifier, [], None),
        "idle": _Chain(classifier, encoders, lambda encoder, word_vectors, mask: word_vectors),
        "attention": _Chain(classifier, [half(encoder, None) for encoder in encoders], attend),
        "extracting_attention": _Chain(classifier, extracting, attend),
        "feed_forward": _Chain(
            classifier, encoders, lambda encoder, word_vectors, mask: encoder.feed_forward(word_vectors)
        ),
    }


def _chained(config: BertConfig) -> int:
    return min(config.num_hidden_layers, _CHAINED)


def _grid(max_seq_length: int) -> np.ndarray:
    """Rows at which parts are timed: 1, 2, 4, 6, 8, 12, 16, 24, 32, ... and N."""
    powers = 2 ** np.arange(max_seq_length.bit_length())
    rows = np.unique(np.concatenate([powers, 3 * powers[1:]]))
    return np.append(rows[rows < max_seq_length], max_seq_length)


def _random_batch(config: BertConfig, batch_size: int, length: int) -> dict[str, np.ndarray]:
    shape = (batch_size, length)
    return {
        "token_ids": np.random.default_rng(length).integers(config.vocab_size, size=shape, dtype="int32"),
        "segment_ids": np.zeros(shape, "int32"),
        "padding_mask": np.ones(shape, "int32"),
    }


def _never_falling(times: np.ndarray) -> np.ndarray:
    """The curve without noise that more rows take less time, and positive."""
    # Between the highest time so far and the lowest still to come, so that noise moves it neither up nor down.
    rising = (np.maximum.accumulate(times) + np.minimum.accumulate(times[::-1])[::-1]) / 2
    return np.maximum(rising, _SMALLEST_MS)


def measure_costs(config: BertConfig, max_seq_length: int, batch_size: int, repeats: int = 7) -> CostTable:
    """Times the parts of a BERT of random weights by their rows, in milliseconds.

    The fixed cost of a call is in `outside`. Where something else uses the machine, a warning is logged: short calls
    suffer less from it than long ones, so that parts are not in proportion.

    Args:
        config: Sizes.
        max_seq_length: N, the most rows.
        batch_size: B.
        repeats: How often each part is measured; fewer times where that takes over a minute, more where it takes no
            more than some seconds.

    Raises:
        ValueError: Keras runs on a backend for which nothing can be measured.
    """

    def is_enough(rounds, seconds):
        is_late = seconds > _LONGEST_SECONDS
        return rounds >= (_FEWEST_ROUNDS if is_late else repeats) and seconds > _SHORTEST_SECONDS

    rows = _grid(max_seq_length)
    functions = {name: compiled(chain) for name, chain in _chains(config, max_seq_length).items()}
    batches = [_tensors(_random_batch(config, batch_size, int(length))) for length in rows]
    with _progress_bar("latency of parts", (1 + repeats) * len(functions) * len(batches)) as bar:
        rounds = _interleaved_times(functions, batches, is_enough, bar)
    # The shortest, not the median: whatever else runs on the machine only adds, and would be most of a short part.
    times = {name: of_chain.min(axis=-1) for name, of_chain in rounds.items()}
    _warn_if_busy(rounds)
    parts = {name: (times[name] - times["idle"]) / _chained(config) for name in _CURVES if name != "outside"}
    curves = {name: _never_falling(curve) for name, curve in {**parts, "outside": times["outside"]}.items()}
    return CostTable(unit="ms", device=device_name(), batch_size=batch_size, rows=rows, **curves)


def _warn_if_busy(rounds: Mapping[str, np.ndarray]) -> None:
    usual = sum(np.median(of_chain, axis=-1).sum() for of_chain in rounds.values())
    fastest = sum(of_chain.min(axis=-1).sum() for of_chain in rounds.values())
    if usual > _BUSY * fastest:
        logging.warning(
            "Something else is running: calls usually take %.2f times as long as the fastest. The measured costs of "
            "parts, and what is chosen by them, are rough; remove their file to have them measured again.",
            usual / fastest,
        )


def load_costs(config: BertConfig, max_seq_length: int, batch_size: int, cache_dir: Path | None = None) -> CostTable:
    """`measure_costs`, once for each device, sizes and batch size: later from a file.

    Args:
        config: Sizes.
        max_seq_length: N.
        batch_size: B.
        cache_dir: Folder of the file; None for `$POWERBERT_TF_CACHE`, else `powerbert_tf` in `$XDG_CACHE_HOME`, else
            `~/.cache/powerbert_tf`. Where it cannot be read or written, that is only logged.

    Raises:
        ValueError: Keras runs on a backend for which nothing can be measured.
    """
    holds_for = _holds_for(config, max_seq_length, batch_size)
    digest = hashlib.sha256(json.dumps(holds_for, sort_keys=True).encode()).hexdigest()
    path = (_default_cache_dir() if cache_dir is None else cache_dir) / f"costs-{digest[:12]}.json"
    table = _read_costs(path, holds_for)
    if table is None:
        logging.info("Measuring what parts of the model take on %s; kept in %s.", holds_for["device"], path)
        table = measure_costs(config, max_seq_length, batch_size)
        _write_costs(path, holds_for, table)
    return table


def _default_cache_dir() -> Path:
    if own := os.environ.get("POWERBERT_TF_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "powerbert_tf"


def _holds_for(config: BertConfig, max_seq_length: int, batch_size: int) -> dict[str, Any]:
    """Everything that a table depends on."""
    return {
        "format": _FORMAT,
        "device": device_name(),
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_attention_heads": config.num_attention_heads,
        "hidden_act": config.hidden_act,
        "vocab_size": config.vocab_size,
        "encoders_chained": _chained(config),
        "max_seq_length": max_seq_length,
        "batch_size": batch_size,
    }


def _read_costs(path: Path, holds_for: Mapping[str, Any]) -> CostTable | None:
    """The table of a file, or None where it is to be measured."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        if {name: stored[name] for name in holds_for} != holds_for:
            raise ValueError("it holds for something else")
        return CostTable(
            unit="ms",
            device=stored["device"],
            batch_size=stored["batch_size"],
            rows=_increasing(stored["rows"]),
            **{name: _curve(stored[name], len(stored["rows"])) for name in _CURVES},
        )
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, KeyError, TypeError, ValueError) as error:  # json's and unicode's errors are ValueErrors
        logging.warning("%s: not usable (%s: %s); measuring anew.", path, type(error).__name__, error)
        return None


def _increasing(rows: Sequence[int]) -> np.ndarray:
    array = np.array(rows, dtype="int64")
    if array.ndim != 1 or not len(array) or (np.diff(array) <= 0).any():
        raise ValueError(f"rows {rows} are not increasing")
    return array


def _curve(times: Sequence[float], length: int) -> np.ndarray:
    array = np.array(times, dtype="float64")
    if array.shape != (length,) or not (np.isfinite(array) & (array > 0)).all():
        raise ValueError(f"expected {length} positive times, found {times}")
    return array


def _write_costs(path: Path, holds_for: Mapping[str, Any], table: CostTable) -> None:
    # Here, because it brings TensorFlow with it, which other backends do not need for a measurement.
    from powerbert_tf.run_folder import write_json

    stored = {
        **holds_for,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "unit": table.unit,
        "rows": table.rows.tolist(),
        **{name: getattr(table, name).tolist() for name in _CURVES},
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, stored)
    except OSError as error:
        logging.warning("%s: cannot be written (%s); the next run measures again.", path, error)
