"""How long the parts of an encoder take on this machine, by their rows and by the encoder's neurons and heads.

Each part is timed in a model of its own, from tokens to logits: a chain of encoders of which only that part runs. The
time of a chain whose encoders do nothing is common to all, and is subtracted. Narrower encoders are timed at a few rows
only, in turns with those of full width: what they save, as a ratio, changes little with rows.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from absl import logging

from powerbert_tf.elimination.extract import Extract
from powerbert_tf.latency.costs import NARROWED, PART_NAMES, CostTable
from powerbert_tf.latency.timing import device_name, input_tensors, interleaved_times
from powerbert_tf.models.classifier import BertClassifier
from powerbert_tf.models.compilation import compiled
from powerbert_tf.models.config import BertConfig
from powerbert_tf.models.encoder import EncoderBlock

_ROWS_OF_WIDTHS = 5  # numbers of rows at which narrower encoders are timed
_CHAINED = 4  # encoders: enough that, as in a full stack, weights do not stay in the nearest cache
SHORTEST_SECONDS = 4.0  # small models are measured more often
_LONGEST_SECONDS = 60.0  # large ones less often, but not below
_FEWEST_ROUNDS = 3
_BUSY = 1.25  # ratio of the median call to the fastest, above which something else is running
_SMALLEST_MS = 1e-6  # a part never costs nothing, or less


class _Chain(keras.Model):
    """Embeddings, one part of each encoder, pooler and head.

    Args:
        classifier: Gives embeddings, pooler and head.
        encoders: A list of `EncoderBlock`; empty to time what is outside of them.
        part: `(encoder, word_vectors [B, T, H], padding_mask [B, T]) -> word_vectors [B, any, any]`.
    """

    def __init__(self, classifier, encoders, part):
        super().__init__(name="chain")  # Keras refuses names that begin with an underscore
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
            # All rows stay, however many the part returns, and the next part cannot start before this one has ended.
            # Nor does it matter how many columns it returns: those of a narrower encoder's heads are fewer.
            word_vectors = word_vectors + 1e-3 * self.part(encoder, word_vectors, mask)[:, :1, :1]
        return self.classifier(self.pooler(word_vectors[:, 0]))


def _block(config: BertConfig, **kwargs: Any) -> EncoderBlock:
    block = EncoderBlock(config, name="part", **kwargs)
    block.build((None, None, config.hidden_size), (None, None), (None, None))
    return block


def _stack(config: BertConfig) -> list[EncoderBlock]:
    """Encoders of weights of their own; ALBERT's share those of the first."""
    stack = [_block(config.of_encoder(0))]
    for index in range(1, config.num_hidden_layers):
        stack.append(_block(config.of_encoder(index), shared=stack[0] if config.shares_encoders else None))
    return stack


def _attend(block, word_vectors, mask):
    _, attention_probs, value, _ = block.choose(word_vectors, mask, mask)
    return block.attention.gather_heads(attention_probs, value)


def _update(block, word_vectors, mask):
    columns = block.config.attention_size
    context = word_vectors if columns == block.config.hidden_size else word_vectors[:, :, :columns]
    return block.update(word_vectors, context)


def _last(block, word_vectors, mask):
    return block(word_vectors, mask, mask)[0]


def _parts(classifier: BertClassifier, encoders: list[EncoderBlock]) -> dict[str, _Chain]:
    """A chain of each part of some encoders."""

    def block(encoder, **kwargs):
        return _block(encoder.config, shared=encoder, **kwargs)

    # Half of the rows are gathered, between what the first and the last encoders keep.
    extracting = [block(encoder, extract=Extract(0.5, classifier.max_seq_length)) for encoder in encoders]
    return {
        "attention": _Chain(classifier, [block(encoder) for encoder in encoders], _attend),
        "extracting_attention": _Chain(classifier, extracting, _attend),
        "update": _Chain(classifier, encoders, _update),
        "last": _Chain(classifier, [block(encoder, cls_only=True) for encoder in encoders], _last),
    }


def _chains(config: BertConfig, max_seq_length: int) -> dict[str, _Chain]:
    """The chains of encoders of full width, under the names of their parts, and of narrower ones, see `_narrow`."""
    length = num_chained(config)
    # Whatever widths the model itself has: the table is of all.
    config = dataclasses.replace(config, num_hidden_layers=length, neurons=None, heads=None)
    classifier = BertClassifier(
        dataclasses.replace(config, num_hidden_layers=1), num_classes=2, max_seq_length=max_seq_length
    )
    full = _stack(config)
    chains = {
        "outside": _Chain(classifier, [], None),
        "idle": _Chain(classifier, full, lambda encoder, word_vectors, mask: word_vectors),
        **_parts(classifier, full),
    }
    for name, widths in known_widths(config).items():
        for width in widths[:-1].tolist():
            own: dict[str, Any] = {name: (width,) * length}
            parts = _parts(classifier, _stack(dataclasses.replace(config, **own)))
            chains |= {_narrow(part, name, width): parts[part] for part in NARROWED[name]}
    return chains


def _narrow(part: str, name: str, width: int) -> str:
    """The name of a chain of encoders of `width` neurons or heads, such as `update, 384 neurons`."""
    return f"{part}, {width} {name}"


def known_widths(config: BertConfig) -> dict[str, np.ndarray]:
    """The widths that are measured: a quarter, a half and all of the neurons and of the heads, whole and increasing."""
    most = {"neurons": config.intermediate_size, "heads": config.num_attention_heads}
    return {name: np.unique([max(width // 4, 1), max(width // 2, 1), width]) for name, width in most.items()}


def num_chained(config: BertConfig) -> int:
    """Number of encoders in a chain."""
    return min(config.num_hidden_layers, _CHAINED)


def _grid(max_seq_length: int) -> np.ndarray:
    """Rows at which parts are timed: 1, 2, 4, 6, 8, 12, 16, 24, 32, ... and N."""
    powers = 2 ** np.arange(max_seq_length.bit_length())
    rows = np.unique(np.concatenate([powers, 3 * powers[1:]]))
    return np.append(rows[rows < max_seq_length], max_seq_length)


def random_batch(config: BertConfig, batch_size: int, length: int) -> dict[str, np.ndarray]:
    """Inputs without padding, int32 `[B, T]` each; the same at each call."""
    shape = (batch_size, length)
    return {
        "token_ids": np.random.default_rng(length).integers(config.vocab_size, size=shape, dtype="int32"),
        "segment_ids": np.zeros(shape, "int32"),
        "padding_mask": np.ones(shape, "int32"),
    }


def _never_falling(costs: np.ndarray) -> np.ndarray:
    """Costs along the first axis, by rows or width, without the noise by which more cost less; positive."""
    # Halfway between the highest so far and the lowest still to come, so that noise is not biased up or down.
    rising = (np.maximum.accumulate(costs) + np.minimum.accumulate(costs[::-1])[::-1]) / 2
    return np.maximum(rising, _SMALLEST_MS)


def measure_costs(
    config: BertConfig,
    max_seq_length: int,
    batch_size: int,
    repeats: int = 7,
    jit_compile: bool = False,
    kept_in: Path | None = None,
) -> CostTable:
    """Times the parts of a BERT of random weights by their rows, neurons and heads, in milliseconds.

    `outside` includes the fixed cost of a call. Logs a warning if something else uses the machine: short calls suffer
    less from it than long ones, which distorts the proportions of parts.

    Args:
        config: Sizes of the model; if it has been narrowed, the table is of all of its neurons and heads all the same.
        max_seq_length: N, the most rows.
        batch_size: B.
        repeats: How often each part is measured; fewer times if that takes over a minute, more if it takes seconds.
        jit_compile: Whether XLA compiles each part, for each number of rows, which takes minutes.
        kept_in: The file that will hold the result, for a warning; None if none will.

    Raises:
        ValueError: Keras runs on a backend for which nothing can be measured.
    """

    def is_enough(rounds, seconds):
        is_late = seconds > _LONGEST_SECONDS
        return rounds >= (_FEWEST_ROUNDS if is_late else repeats) and seconds > SHORTEST_SECONDS

    rows, widths = _grid(max_seq_length), known_widths(config)
    few = np.unique(np.linspace(0, len(rows) - 1, _ROWS_OF_WIDTHS).round().astype(int))  # indices of rows
    functions = {name: compiled(chain, jit_compile) for name, chain in _chains(config, max_seq_length).items()}
    batches = [input_tensors(random_batch(config, batch_size, int(length))) for length in rows]
    only = {name: few.tolist() for name in functions if name not in (*PART_NAMES, "idle")}
    rounds = interleaved_times(functions, batches, is_enough, "latency of parts", repeats, only)
    # The minimum, not the median: whatever else runs only adds time, and would be most of that of a short part.
    times = {name: of_chain.min(axis=-1) for name, of_chain in rounds.items()}
    _warn_if_busy(rounds, kept_in)
    chained = num_chained(config)
    parts = {name: (times[name] - times["idle"]) / chained for name in PART_NAMES if name != "outside"}
    costs = {name: _never_falling(part) for name, part in {**parts, "outside": times["outside"]}.items()}

    def ratios(part: str, name: str) -> np.ndarray:
        """Of a part's costs by known neurons or heads, `[k, g]`: linear between the rows at which they are timed."""
        narrower = [times[_narrow(part, name, width)] - times["idle"][few] for width in widths[name][:-1].tolist()]
        at_few = [_never_falling(own / chained) / costs[part][few] for own in narrower]
        # Beyond noise, fewer neurons or heads never cost more.
        by_width = _never_falling(np.minimum([*at_few, np.ones(len(few))], 1.0))
        return np.array([np.interp(rows, rows[few], curve) for curve in by_width])

    return CostTable(
        unit="ms",
        device=device_name(jit_compile),
        batch_size=batch_size,
        rows=rows,
        **costs,
        widths=widths,
        ratios={name: {part: ratios(part, name) for part in of_name} for name, of_name in NARROWED.items()},
    )


def _warn_if_busy(rounds: Mapping[str, np.ndarray], kept_in: Path | None) -> None:
    usual = sum(np.median(of_chain, axis=-1).sum() for of_chain in rounds.values())
    fastest = sum(of_chain.min(axis=-1).sum() for of_chain in rounds.values())
    if usual > _BUSY * fastest:
        logging.warning(
            "Something else is running: calls usually take %.2f times as long as the fastest. The measured costs of "
            "parts, and what is chosen by them, are rough%s.",
            usual / fastest,
            f"; remove {kept_in} to have them measured again" if kept_in else "",
        )
