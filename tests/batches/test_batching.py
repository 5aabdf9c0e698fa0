import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from powerbert_tf.batches.batching import encode_split, held_split, prediction_batches, training_batches
from powerbert_tf.batches.order import epoch_order
from powerbert_tf.data.splits import Split
from powerbert_tf.tokenizers.word_pieces import Tokenizer

LENGTHS = (3, 17, 5, 9, 2, 21, 4)
N = 23
PAD = 7
EMPTY = {"token_ids": PAD, "segment_ids": 0, "padding_mask": 0}


@pytest.fixture
def encoded():
    """Row i has the ids 100 * i + position, and i as label."""
    return held_split(
        token_ids=tf.ragged.constant([[100 * i + p for p in range(n)] for i, n in enumerate(LENGTHS)], tf.int32),
        segment_ids=tf.ragged.constant([[p % 2 for p in range(n)] for n in LENGTHS], tf.int32),
        labels=np.arange(len(LENGTHS), dtype="int32"),
        pad_id=PAD,
        max_seq_length=N,
    )


def check_row(inputs, row, i):
    length = LENGTHS[i]
    width = inputs["token_ids"].shape[1]
    rest = width - length
    np.testing.assert_array_equal(inputs["token_ids"][row], [100 * i + p for p in range(length)] + [PAD] * rest)
    np.testing.assert_array_equal(inputs["segment_ids"][row], [p % 2 for p in range(length)] + [0] * rest)
    np.testing.assert_array_equal(inputs["padding_mask"][row], [1] * length + [0] * rest)


@pytest.mark.parametrize("padding", ["batch", "max"])
def test_each_epoch_has_every_row_once(encoded, padding):
    steps = 3  # 7 rows in batches of 3
    batches = list(training_batches(encoded, batch_size=3, epochs=2, seed=1, padding=padding).dataset(with_labels=True))
    assert len(batches) == 2 * steps
    for epoch in (batches[:steps], batches[steps:]):
        seen = []
        for inputs, labels in epoch:
            for row, label in enumerate(labels.numpy()):
                check_row(inputs, row, label)
                seen.append(int(label))
            longest = max(LENGTHS[label] for label in labels.numpy())
            width = inputs["token_ids"].shape[1]
            assert width == (N if padding == "max" else longest)  # fewer lengths than buckets
        assert sorted(seen) == list(range(len(LENGTHS)))


def in_order(batches):
    return [batch.tolist() for batch in batches]


@pytest.mark.parametrize("grouped", [False, True])
def test_the_order_depends_on_seed_and_epoch_alone(grouped):
    lengths = np.random.default_rng(0).integers(3, 103, size=53)
    order = in_order(epoch_order(lengths, 3, seed=1, epoch=0, grouped=grouped))
    assert order == in_order(epoch_order(lengths, 3, seed=1, epoch=0, grouped=grouped))
    assert order != in_order(epoch_order(lengths, 3, seed=2, epoch=0, grouped=grouped))
    assert order != in_order(epoch_order(lengths, 3, seed=1, epoch=1, grouped=grouped))


def test_grouping_leaves_little_padding_and_other_batches_each_epoch():
    lengths = np.random.default_rng(0).integers(3, 103, size=997)

    def padding(grouped):
        batches = epoch_order(lengths, 13, seed=0, epoch=0, grouped=grouped)
        assert sorted(np.concatenate(batches).tolist()) == list(range(997))
        computed = sum(len(batch) * lengths[batch].max() for batch in batches)
        return 1 - lengths.sum() / computed

    assert padding(grouped=True) < 0.1 < 0.3 < padding(grouped=False)
    first, second = (
        {frozenset(batch.tolist()) for batch in epoch_order(lengths, 13, 0, epoch, grouped=True)} for epoch in (0, 1)
    )
    assert not first & second


@pytest.mark.parametrize(
    ("length_buckets", "widths"),
    # By length, the smaller batch first: 2; 3 4 5; 9 17 21. Of 2 5 21 in two buckets, 5 5 21 pads least.
    [(3, (2, 5, 21)), (2, (5, 5, 21)), (1, (21, 21, 21))],
)
@pytest.mark.parametrize("fill", [False, True])
def test_prediction_batches_group_lengths_and_tell_the_rows(encoded, length_buckets, widths, fill):
    batches = prediction_batches(encoded, batch_size=3, length_buckets=length_buckets, fill=fill)
    assert in_order(batches.rows) == [[4], [0, 6, 2], [3, 1, 5]]
    assert tuple(batches.lengths) == widths
    for inputs, rows, width in zip(batches.dataset(with_labels=False), batches.rows, widths, strict=True):
        assert inputs["token_ids"].shape == (3 if fill else len(rows), width)
        for row, i in enumerate(rows):
            check_row(inputs, row, i)
        for row in range(len(rows), inputs["token_ids"].shape[0]):
            assert all((inputs[name][row].numpy() == pad).all() for name, pad in EMPTY.items())


@pytest.mark.parametrize("padding", ["batch", "max"])
def test_filled_batches_have_one_shape_a_length_and_weights(encoded, padding):
    encoded = dataclasses.replace(encoded, labels=np.eye(7, dtype="float32"))  # logits, of a teacher
    batches = training_batches(encoded, 3, epochs=5, seed=1, padding=padding, length_buckets=2, fill=True)
    seen, shapes = [], set()
    for (inputs, labels, weights), rows in zip(batches.dataset(with_labels=True), batches.rows, strict=True):
        np.testing.assert_array_equal(weights, [1.0] * len(rows) + [0.0] * (3 - len(rows)))
        np.testing.assert_array_equal(labels, [*np.eye(7)[rows], *np.zeros((3 - len(rows), 7))])
        shapes.add(tuple(inputs["token_ids"].shape))
        assert {tuple(values.shape) for values in inputs.values()} <= shapes
        for row, i in enumerate(rows):
            check_row(inputs, row, i)
        seen += rows.tolist()
    assert sorted(seen) == sorted(5 * list(range(7)))
    assert shapes == ({(3, N)} if padding == "max" else {(3, length) for length in set(batches.lengths)})
    assert len(shapes) <= 2

    few = list(batches.of_each_length().dataset(with_labels=False))
    assert [tuple(inputs["token_ids"].shape) for inputs in few] == sorted(shapes)


def test_a_split_is_encoded_whole():
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "##c"]
    split = Split((["a", "bc x", ""], ["b", "", "a a a a a a"]), np.array([1, 0, 1], "int32"), None)
    encoded = encode_split(split, Tokenizer(vocabulary, lower_case=True), max_seq_length=8)
    assert encoded.token_ids.to_list() == [[2, 4, 3, 5, 3], [2, 5, 6, 1, 3, 3], [2, 3, 4, 4, 4, 4, 4, 3]]
    assert encoded.segment_ids.to_list() == [[0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 1], [0, 0, 1, 1, 1, 1, 1, 1]]
    np.testing.assert_array_equal(encoded.lengths, [5, 6, 8])
    assert len(encoded) == 3
