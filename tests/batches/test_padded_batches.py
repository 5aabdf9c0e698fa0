"""Batches hold each row once an epoch; their order by other routes: as lists of all epochs at once, as NumPy sorts."""

import dataclasses

import numpy as np
import pytest
from made_up_rows import encoded_rows, segment_ids_of, token_ids_of

from powerbert_tf.batches.encoded_split import encode_split, with_thinned_copies
from powerbert_tf.batches.padded_batches import EpochOrder, prediction_batches, training_batches
from powerbert_tf.data.splits import Split
from powerbert_tf.tokenizers.word_pieces import Tokenizer

LENGTHS = (3, 17, 5, 9, 2, 21, 4)
N = 23
PAD = 7
EMPTY = {"token_ids": PAD, "segment_ids": 0, "padding_mask": 0}


@pytest.fixture
def encoded():
    """Row i has the ids 100 * i + position, two tokens of the first text, and i as label."""
    rows = [[100 * i + p for p in range(n)] for i, n in enumerate(LENGTHS)]
    return encoded_rows(rows, N, np.arange(len(LENGTHS), dtype="int32"), PAD, second=[2] * len(LENGTHS))


def by_hand(lengths, batch_size, seed, epoch, grouped):
    """All batches as lists; the order that interrupted trainings of earlier versions are in."""
    draw = np.random.default_rng((seed, epoch))
    rows = draw.permutation(len(lengths))
    if not grouped:
        return [rows[at : at + batch_size].tolist() for at in range(0, len(rows), batch_size)]
    ordered = []
    for at in range(0, len(rows), 16 * batch_size):
        ordered += sorted(rows[at : at + 16 * batch_size].tolist(), key=lambda row: lengths[row])
    batches = [ordered[at : at + batch_size] for at in range(0, len(rows), batch_size)]
    return [batches[number] for number in draw.permutation(len(batches))]


@pytest.mark.parametrize("grouped", [False, True])
def test_epochs_one_after_the_other_and_in_any_order(grouped):
    lengths = np.random.default_rng(3).integers(2, 31, size=211)
    epochs = 5
    expected = [batch for epoch in range(epochs) for batch in by_hand(lengths, 13, 2, epoch, grouped)]
    order = EpochOrder(lengths, 13, seed=2, grouped=grouped)
    assert order.num_batches * epochs == len(expected)
    encoded = encoded_rows([[1] * length for length in lengths], 31)
    batches = training_batches(encoded, 13, epochs, 2, "batch" if grouped else "max", length_buckets=31)
    assert in_order(batches) == expected
    longest = [max(lengths[row] for row in rows) for rows in expected]
    np.testing.assert_array_equal(batches.lengths, longest if grouped else 31)
    for number in np.random.default_rng(0).permutation(len(expected)):
        assert order.rows(int(number)).tolist() == expected[number]
    assert order.rows(0).dtype == np.int32


@pytest.mark.parametrize("count", [1, 5, 6, 13, 15])
@pytest.mark.parametrize("grouped", [False, True])
def test_a_smaller_batch_comes_first(count, grouped):
    lengths = np.random.default_rng(count).integers(1, 31, size=count)
    encoded = encoded_rows([[1] * length for length in lengths], 31)
    batches = prediction_batches(encoded, 5, grouped=grouped)
    expected = sorted(range(count), key=lambda row: lengths[row]) if grouped else list(range(count))
    assert batches.order().tolist() == expected
    sizes = [len(batches.rows(at)) for at in range(len(batches))]
    assert sizes == [count % 5 or 5, *[5] * count][: len(batches)]
    assert batches.lengths.tolist() == [lengths[batches.rows(at)].max() for at in range(len(batches))]


def test_some_of_the_batches(encoded):
    batches = training_batches(encoded, 3, epochs=2, seed=1)
    rows = in_order(batches)
    assert in_order(batches.select(slice(2, None))) == rows[2:]
    assert in_order(batches.select(slice(2, None)).select(np.array([1, 0]))) == [rows[3], rows[2]]
    for at, (inputs, found) in zip(range(2, 6), batches.select(slice(2, None)), strict=True):
        assert found.tolist() == rows[at]
        for name, values in batches.inputs(at).items():
            np.testing.assert_array_equal(inputs[name], values)


def check_row(inputs, row, i):
    length = LENGTHS[i]
    width = inputs["token_ids"].shape[1]
    rest = width - length
    np.testing.assert_array_equal(inputs["token_ids"][row], [100 * i + p for p in range(length)] + [PAD] * rest)
    np.testing.assert_array_equal(inputs["segment_ids"][row], [int(p >= 2) for p in range(length)] + [0] * rest)
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


def test_each_epoch_takes_the_next_copy(encoded):
    copies = training_batches(with_thinned_copies(encoded, 1, 0.5, seed=0), 3, epochs=3, seed=1, copies=2)
    alone = training_batches(encoded, 3, epochs=3, seed=1)
    shift = np.repeat([0, len(LENGTHS), 0], 3)  # 7 rows in batches of 3
    assert in_order(copies) == [[row + by for row in rows] for rows, by in zip(in_order(alone), shift, strict=True)]
    assert all(copies.lengths[at] >= copies.encoded.lengths[copies.rows(at)].max() for at in range(len(copies)))


def in_order(batches):
    return [batches.rows(at).tolist() for at in range(len(batches))]


def of_epoch(lengths, batch_size, seed, epoch):
    """The batches of an epoch, grouped by length."""
    order = EpochOrder(lengths, batch_size, seed, grouped=True)
    return [order.rows(epoch * order.num_batches + at) for at in range(order.num_batches)]


def test_grouping_leaves_little_padding_and_other_batches_each_epoch():
    lengths = np.random.default_rng(0).integers(3, 103, size=997)

    def padding(grouped):
        order = EpochOrder(lengths, 13, seed=0, grouped=grouped)
        batches = [order.rows(number) for number in range(order.num_batches)]
        assert sorted(np.concatenate(batches).tolist()) == list(range(997))
        computed = sum(len(batch) * lengths[batch].max() for batch in batches)
        return 1 - lengths.sum() / computed

    assert padding(grouped=True) < 0.1 < 0.3 < padding(grouped=False)
    first, second = ({frozenset(batch.tolist()) for batch in of_epoch(lengths, 13, 0, epoch)} for epoch in (0, 1))
    assert not first & second


@pytest.mark.parametrize(
    ("length_buckets", "widths"),
    # By length, the smaller batch first: 2; 3 4 5; 9 17 21. Of 2 5 21 in two buckets, 5 5 21 pads least.
    [(3, (2, 5, 21)), (2, (5, 5, 21)), (1, (21, 21, 21))],
)
@pytest.mark.parametrize("fill", [False, True])
def test_prediction_batches_group_lengths_and_tell_the_rows(encoded, length_buckets, widths, fill):
    batches = prediction_batches(encoded, batch_size=3, length_buckets=length_buckets, fill=fill)
    assert in_order(batches) == [[4], [0, 6, 2], [3, 1, 5]]
    assert tuple(batches.lengths) == widths
    for (inputs, rows), of_dataset, width in zip(batches, batches.dataset(with_labels=False), widths, strict=True):
        for name, values in of_dataset.items():
            np.testing.assert_array_equal(inputs[name], values)
            assert inputs[name].dtype == values.dtype
        assert inputs["token_ids"].shape == (3 if fill else len(rows), width)
        for row, i in enumerate(rows):
            check_row(inputs, row, i)
        for row in range(len(rows), inputs["token_ids"].shape[0]):
            assert all((inputs[name][row] == pad).all() for name, pad in EMPTY.items())


@pytest.mark.parametrize("padding", ["batch", "max"])
def test_filled_batches_have_one_shape_a_length_and_weights(encoded, padding):
    encoded = dataclasses.replace(encoded, labels=np.eye(7, dtype="float32"))  # logits, of a teacher
    batches = training_batches(encoded, 3, epochs=5, seed=1, padding=padding, length_buckets=2, fill=True)
    seen, shapes = [], set()
    for at, (inputs, labels, weights) in enumerate(batches.dataset(with_labels=True)):
        rows = batches.rows(at)
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

    few = [inputs["token_ids"].shape for inputs, _ in batches.of_each_length()]
    assert few == sorted(shapes)


def test_a_split_is_encoded_whole():
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "##c"]
    split = Split((["a", "bc x", ""], ["b", "", "a a a a a a"]), np.array([1, 0, 1], "int32"), None)
    encoded = encode_split(split, Tokenizer(vocabulary, lower_case=True), max_seq_length=8)
    assert token_ids_of(encoded) == [[2, 4, 3, 5, 3], [2, 5, 6, 1, 3, 3], [2, 3, 4, 4, 4, 4, 4, 3]]
    assert segment_ids_of(encoded) == [[0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 1], [0, 0, 1, 1, 1, 1, 1, 1]]
    np.testing.assert_array_equal(encoded.lengths, [5, 6, 8])
    assert len(encoded) == 3
