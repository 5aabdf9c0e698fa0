"""What the machine allows: how far multiply-adds can be turned into time, `python -m benchmarks.roofline`.

A product of matrices takes at least as long as its multiply-adds at the rate of a large product, and as its weights
take to come from memory: all of them come for each batch, as no cache holds those of a model. That is the roofline
(Williams, Waterman, Patterson 2009) of a model, product by product. Nearer to what can be reached are the same products
by the same library, of the same sizes and each with weights of its own, and nothing between them. Both are measured
in turns with the dense and with the reduced model: what a speed-up lacks of its multiply-adds, and these lack as
well, is not lost by elimination.
"""

import dataclasses
import functools
import itertools
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from absl import app, flags
from tqdm import tqdm

from benchmarks.backends import matrix_product_peak, set_up_keras
from benchmarks.command import FLAGS, define_flags, output_path, publish, surroundings
from benchmarks.configurations import RETENTION
from benchmarks.engine import Job
from benchmarks.inference_engines import ENGINES
from benchmarks.random_checkpoint import SHAPES, write_random_checkpoint
from benchmarks.tables import measured_on, table
from benchmarks.worker import random_batch
from powerbert_tf.common.files import replacing
from powerbert_tf.elimination.retention import kept_lengths, parse_configuration
from powerbert_tf.latency.timing import device_name
from powerbert_tf.models.config import BertConfig

_BYTES = 4  # of a weight in float32
_READ = 2**28  # weights that are read to measure the memory: a gibibyte, more than caches hold
_NUM_CLASSES = 2
_MODELS = ("dense", "reduced")
_DETAILS = ("compute", "weights", "roofline", "products", "model")


@dataclasses.dataclass(frozen=True)
class Product:
    """`count` products `[rows, inner]` x `[inner, columns]`.

    Attributes:
        count: How many at once: one for each example and head in attention, else 1.
        rows: Of the left matrix.
        inner: Columns of the left one, rows of the right one.
        columns: Of the right matrix.
        weights: Name of the weights that the right matrix is; empty where it is computed, and still in a cache.
    """

    count: int
    rows: int
    inner: int
    columns: int
    weights: str = ""

    @property
    def multiply_adds(self) -> int:
        return self.count * self.rows * self.inner * self.columns

    @property
    def weight_bytes(self) -> int:
        return _BYTES * self.inner * self.columns if self.weights else 0


def products(config: BertConfig, configuration: Sequence[float] | None, batch: int, length: int) -> list[Product]:
    """Products of matrices of the encoders, in their order; see `powerbert_tf.elimination.operations.multiply_adds`.

    Args:
        config: Sizes.
        configuration: Retention configuration, or None for plain BERT.
        batch: B.
        length: Rows that enter the first encoder.
    """
    hidden, inner = config.hidden_size, config.intermediate_size
    heads, head_size = batch * config.num_attention_heads, hidden // config.num_attention_heads

    def weights(encoder: int, name: str) -> str:
        return name if config.shares_encoders else f"{encoder}/{name}"

    def update(encoder: int, rows: int) -> list[Product]:
        return [
            Product(1, batch * rows, hidden, hidden, weights(encoder, "output")),
            Product(1, batch * rows, hidden, inner, weights(encoder, "intermediate")),
            Product(1, batch * rows, inner, hidden, weights(encoder, "feed_forward_output")),
        ]

    *leaving, _ = kept_lengths(configuration, config.num_hidden_layers, length)
    *entering, last = [length, *leaving]
    found = []
    for encoder, (enter, leave) in enumerate(zip(entering, leaving, strict=True)):
        found += [
            Product(1, batch * enter, hidden, 3 * hidden, weights(encoder, "query_key_value")),
            Product(heads, enter, head_size, enter),
            Product(heads, leave, enter, head_size),
            *update(encoder, leave),
        ]
    encoder = len(leaving)  # the last, whose only query is [CLS]
    return [
        *found,
        Product(1, batch, hidden, hidden, weights(encoder, "query")),
        Product(1, batch * last, hidden, 2 * hidden, weights(encoder, "key_value")),
        Product(heads, 1, head_size, last),
        Product(heads, 1, last, head_size),
        *update(encoder, 1),
    ]


def bounds(needed: Sequence[Product], multiply_adds_a_second: float, bytes_a_second: float) -> dict[str, float]:
    """Least milliseconds of products; weights that encoders share are read once.

    Returns:
        `compute`, of multiply-adds alone; `weights`, of reading weights alone; `roofline`, where each product takes
        the longer of the two.
    """
    compute = [1000 * product.multiply_adds / multiply_adds_a_second for product in needed]
    first = {product.weights: number for number, product in reversed(list(enumerate(needed)))}
    read = [
        1000 * product.weight_bytes / bytes_a_second if first[product.weights] == number else 0.0
        for number, product in enumerate(needed)
    ]
    return {"compute": sum(compute), "weights": sum(read), "roofline": sum(map(max, compute, read))}


def alone(needed: Sequence[Product], weights: Mapping[str, Any]) -> Callable[[], Any]:
    """The products by TensorFlow, one after another; a function that returns when all are done."""
    import tensorflow as tf

    def normal(*shape: int) -> Any:
        return tf.random.normal(shape)

    # One left matrix, and one computed right matrix, a size, as a model's activations are still in a cache.
    lefts = {(p.count, p.rows, p.inner): normal(p.count, p.rows, p.inner) for p in needed}
    rights = {(p.count, p.inner, p.columns): normal(p.count, p.inner, p.columns) for p in needed if not p.weights}

    def right(product: Product) -> Any:
        if product.weights:
            return weights[product.weights]
        return rights[product.count, product.inner, product.columns]

    @functools.partial(tf.function, autograph=False)
    def run(lefts: Sequence[Any], rights: Sequence[Any]) -> Any:
        ends = []
        for product, left, right in zip(needed, lefts, rights, strict=True):
            # As in a model: a product with weights is one of matrices, those of attention are many at once.
            answer = tf.matmul(left[0] if product.weights else left, right)
            ends.append(tf.reshape(answer, [-1])[0])
        return tf.stack(ends)

    given = [lefts[p.count, p.rows, p.inner] for p in needed], [right(p) for p in needed]
    return lambda: run(*given).numpy()


def reading(numbers: int = _READ) -> Callable[[], float]:
    """Reads `numbers` float32 from memory; returns a function: its bytes a second."""
    import tensorflow as tf

    array = tf.zeros([numbers])

    def measure() -> float:
        start = time.perf_counter()
        tf.reduce_max(array).numpy()
        return _BYTES * numbers / (time.perf_counter() - start)

    return measure


def compare(results: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """How many times faster the reduced model is, and would be at each of its bounds.

    Args:
        results: A cell each: `batch`, `length`, and by model `multiply_adds` and milliseconds of `_DETAILS`.

    Returns:
        A row a cell: `multiply-adds` (times fewer), `roofline`, `products` (times faster by each), `speed-up`,
        `of multiply-adds`, `of roofline`, `of products` (share that the speed-up has of each).
    """
    rows = []
    for cell in results:
        dense, reduced = cell["dense"], cell["reduced"]
        ratio = {name: dense[name] / reduced[name] for name in ("multiply_adds", *_DETAILS)}
        rows.append(
            {
                "batch": cell["batch"],
                "length": cell["length"],
                "multiply-adds": ratio["multiply_adds"],
                "roofline": ratio["roofline"],
                "products": ratio["products"],
                "speed-up": ratio["model"],
                "of multiply-adds": ratio["model"] / ratio["multiply_adds"],
                "of roofline": ratio["model"] / ratio["roofline"],
                "of products": ratio["model"] / ratio["products"],
            }
        )
    return pd.DataFrame(rows)


def write_report(report: dict[str, Any], output: Path) -> None:
    """Writes Markdown."""
    times = [
        {
            "batch": cell["batch"],
            "length": cell["length"],
            "model": name,
            "billion multiply-adds": cell[name]["multiply_adds"] / 1e9,
            **{f"{detail}, ms": cell[name][detail] for detail in _DETAILS},
            "roofline / model": cell[name]["roofline"] / cell[name]["model"],
            "products / model": cell[name]["products"] / cell[name]["model"],
        }
        for cell in report["results"]
        for name in _MODELS
    ]
    lines = [
        f"# What the machine allows, {report['shape']}",
        f"`{report['command']}`",
        f"{measured_on(report)} A large product of matrices: "
        f"{report['multiply_adds_a_second'] / 1e9:.0f} billion multiply-adds a second; reading memory: "
        f"{report['bytes_a_second'] / 1e9:.1f} GB a second. Medians of {report['rounds']} rounds.",
        "*Compute* and *weights*: the least time of multiply-adds and of reading weights; *roofline*: the longer of "
        "the two, product by product; *products*: measured, nothing between them.",
        table(pd.DataFrame(times)),
        "## Times faster: at each bound, and the model",
        table(compare(report["results"])),
    ]
    with replacing(output.with_suffix(".md")) as path:
        path.write_text("\n\n".join(lines) + "\n", encoding="utf-8")


def _milliseconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return 1000 * (time.perf_counter() - start)


def in_turns(functions: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median milliseconds of each; the first two calls, which trace, are not counted."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for number in range(rounds + 2):
        for name, function in functions.items():
            milliseconds = _milliseconds(function)
            if number >= 2:
                times[name].append(milliseconds)
    return {name: float(np.median(found)) for name, found in times.items()}


def main(_: Sequence[str]) -> None:
    """Measures, and writes JSON and Markdown."""
    config = SHAPES[FLAGS.shape]
    lengths, batches = [int(value) for value in FLAGS.lengths], [int(value) for value in FLAGS.batches]
    published = RETENTION[FLAGS.shape]
    if FLAGS.retention:
        published = parse_configuration(FLAGS.retention, config.num_hidden_layers, max(lengths))
    with tempfile.TemporaryDirectory() as folder:
        job = Job(folder, _NUM_CLASSES, max(lengths), FLAGS.threads, published)
        tensorflow = set_up_keras(job, only_on="tensorflow")  # before anything is computed
        write_random_checkpoint(Path(folder), config, _NUM_CLASSES)
        models = {name: ENGINES[f"ours, {name}"].build(job).timed for name in _MODELS}
    sizes = {p.weights: (p.inner, p.columns) for p in products(config, None, 1, 1) if p.weights}
    weights = {name: tensorflow.random.normal(size) for name, size in sizes.items()}
    peak, read, rates = matrix_product_peak(job), reading(), []
    results: list[dict[str, Any]] = []
    for batch, length in tqdm(list(itertools.product(batches, lengths)), unit="cell", disable=None):
        given = random_batch(config.vocab_size, batch, length, _NUM_CLASSES)
        cell: dict[str, Any] = {"batch": batch, "length": length}
        functions: dict[str, Callable[[], Any]] = {}
        for name, configuration in zip(_MODELS, (None, published), strict=True):
            needed = products(config, configuration, batch, length)
            cell[name] = {"products of matrices": needed}
            functions |= {f"{name} products": alone(needed, weights)}
            functions |= {f"{name} model": functools.partial(models[name], given)}
        rates += [(peak(), read()) for _ in range(3)]
        times = in_turns(functions, FLAGS.rounds)
        rates += [(peak(), read()) for _ in range(3)]
        for name in _MODELS:
            cell[name] |= {what: times[f"{name} {what}"] for what in ("products", "model")}
        results.append(cell)
    # The fastest is what the machine allows; typical ones are held up by what else it does.
    multiply_adds_a_second, bytes_a_second = (float(rate) for rate in np.max(rates, axis=0))
    for cell, name in itertools.product(results, _MODELS):
        needed = cell[name].pop("products of matrices")
        cell[name]["multiply_adds"] = sum(product.multiply_adds for product in needed)
        cell[name] |= bounds(needed, multiply_adds_a_second, bytes_a_second)
    report = {
        **surroundings("benchmarks.roofline"),
        "shape": FLAGS.shape,
        "retention": list(published),
        "device": device_name(),
        "rounds": FLAGS.rounds,
        "multiply_adds_a_second": multiply_adds_a_second,
        "bytes_a_second": bytes_a_second,
        "results": results,
    }
    publish(report, output_path(f"roofline-{FLAGS.shape}"), write_report)


def define_roofline_flags() -> None:
    """Flags of the command."""
    define_flags()
    flags.DEFINE_enum("shape", "bert_base", sorted(SHAPES), "Size of the model.")
    flags.DEFINE_list("batches", ["1", "8"], "Batch sizes.")
    flags.DEFINE_list("lengths", ["32", "128", "256"], "Lengths; rows are full.")
    flags.DEFINE_integer("rounds", 7, "Times that each is called for each batch and length.", lower_bound=1)
    flags.DEFINE_string("retention", "", "Fractions that are kept; empty for those of the shape.")


if __name__ == "__main__":
    define_roofline_flags()
    app.run(main)
