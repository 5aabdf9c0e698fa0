"""What the machine allows: how far multiply-adds can be turned into time, `python -m benchmarks.inference.roofline`.

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

from benchmarks.common import command
from benchmarks.common.command import FLAGS, output_path, publish, surroundings
from benchmarks.common.engine import Job, random_batch
from benchmarks.common.frameworks import matrix_product_peak, set_up_keras
from benchmarks.common.markdown import measured_on, page, table
from benchmarks.common.models import SHAPES, retention_of, write_random_checkpoint
from benchmarks.common.turns import time_in_turns
from benchmarks.inference.engines import ENGINES
from powerbert_tf.elimination.retention import kept_lengths
from powerbert_tf.latency.timing import device_name
from powerbert_tf.models.config import BertConfig

_BYTES = 4  # of a weight in float32
_READ = 2**28  # weights that are read to measure the memory: a gibibyte, more than caches hold
_NUM_CLASSES = 2
_UNCOUNTED = 2  # first calls, which trace
_MODELS = ("dense", "reduced")
_DETAILS = ("compute", "weights", "roofline", "products", "model")


@dataclasses.dataclass(frozen=True)
class Product:
    """`count` products `[rows, inner]` x `[inner, columns]`."""

    count: int  # at once: one for each example and head in attention, else 1
    rows: int
    inner: int
    columns: int
    weights: str = ""  # name of the right matrix; empty where it is computed, and still in a cache

    @property
    def multiply_adds(self) -> int:
        return self.count * self.rows * self.inner * self.columns

    @property
    def weight_bytes(self) -> int:
        return _BYTES * self.inner * self.columns if self.weights else 0


def products(config: BertConfig, configuration: Sequence[float] | None, batch: int, length: int) -> list[Product]:
    """Products of matrices of the encoders, in their order; see `powerbert_tf.elimination.operations.multiply_adds`.

    `length` rows enter the first encoder; the configuration is None for plain BERT.
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
    """Returns a function that runs the products by TensorFlow, one after another."""
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
    """Returns a function that reads `numbers` float32 from memory and measures bytes per second."""
    import tensorflow as tf

    array = tf.zeros([numbers])

    def measure() -> float:
        start = time.perf_counter()
        tf.reduce_max(array).numpy()
        return _BYTES * numbers / (time.perf_counter() - start)

    return measure


def compare(results: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """How many times faster the reduced model is, and would be at each of its bounds, one row per cell.

    Columns: `multiply-adds` (times fewer), `roofline`, `products` (times faster by each), `speed-up`,
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


def to_markdown(report: dict[str, Any]) -> str:
    """The report as text."""
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
    return page(
        f"# What the machine allows, {report['shape']}",
        f"{measured_on(report)} A large product of matrices: "
        f"{report['multiply_adds_a_second'] / 1e9:.0f} billion multiply-adds a second; reading memory: "
        f"{report['bytes_a_second'] / 1e9:.1f} GB a second. Medians of {report['rounds']} rounds.",
        "*Compute* and *weights*: the least time of multiply-adds and of reading weights; *roofline*: the longer of "
        "the two, product by product; *products*: measured, nothing between them.",
        table(times),
        "## Times faster: at each bound, and the model",
        table(compare(report["results"])),
    )


def main(_: Sequence[str]) -> None:
    """Measures, and writes JSON and Markdown."""
    config = SHAPES[FLAGS.shape]
    lengths, batches = [int(value) for value in FLAGS.lengths], [int(value) for value in FLAGS.batches]
    published = retention_of(FLAGS.shape, FLAGS.retention, max(lengths))
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
        measured = time_in_turns(functions, _UNCOUNTED + FLAGS.rounds)
        rates += [(peak(), read()) for _ in range(3)]
        for name in _MODELS:
            cell[name] |= {
                what: float(np.median(measured[f"{name} {what}"][_UNCOUNTED:])) for what in ("products", "model")
            }
        results.append(cell)
    # The fastest is what the machine allows; typical ones are held up by what else it does.
    multiply_adds_a_second, bytes_a_second = (float(rate) for rate in np.max(rates, axis=0))
    for cell, name in itertools.product(results, _MODELS):
        needed = cell[name].pop("products of matrices")
        cell[name]["multiply_adds"] = sum(product.multiply_adds for product in needed)
        cell[name] |= bounds(needed, multiply_adds_a_second, bytes_a_second)
    report = {
        **surroundings("benchmarks.inference.roofline"),
        "shape": FLAGS.shape,
        "retention": list(published),
        "device": device_name(),
        "rounds": FLAGS.rounds,
        "multiply_adds_a_second": multiply_adds_a_second,
        "bytes_a_second": bytes_a_second,
        "results": results,
    }
    publish(report, output_path(f"roofline-{FLAGS.shape}"), to_markdown(report))


def define_flags() -> None:
    """Flags of the command."""
    command.define_flags()
    flags.DEFINE_enum("shape", "bert_base", sorted(SHAPES), "Size of the model.")
    flags.DEFINE_list("batches", ["1", "8"], "Batch sizes.")
    flags.DEFINE_list("lengths", ["32", "128", "256"], "Lengths; rows are full.")
    flags.DEFINE_integer("rounds", 7, "Calls of each, per batch and length.", lower_bound=1)
    flags.DEFINE_string("retention", "", "Fractions that are kept; empty for those of the shape.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
