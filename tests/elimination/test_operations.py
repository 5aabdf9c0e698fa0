import numpy as np

from powerbert_tf.elimination.operations import EncoderSize, saving_steps, summarize_cost

SIZE = EncoderSize(num_encoders=3, hidden_size=7, intermediate_size=29)


def encoder(rows, kept, leaves):
    """Multiply-adds of one encoder counted product by product.

    Args:
        rows: That enter.
        kept: Whose attention is computed to its end.
        leaves: That go through the feed-forward network.
    """
    hidden, inner = SIZE.hidden_size, SIZE.intermediate_size
    products = [
        *[(rows, hidden, hidden)] * 3,  # query, key, value
        (rows, hidden, rows),  # scores
        (kept, rows, hidden),  # probabilities by values
        (kept, hidden, hidden),  # output projection
        (leaves, hidden, inner),
        (leaves, inner, hidden),
    ]
    return sum(a * b * c for a, b, c in products)


def last(rows):
    """Of the last encoder: keys and values of all rows, all else of [CLS]."""
    hidden, inner = SIZE.hidden_size, SIZE.intermediate_size
    return 2 * rows * hidden**2 + hidden**2 + 2 * rows * hidden + hidden**2 + 2 * hidden * inner


def test_each_step_counted_by_hand():
    lengths, longest = np.array([11, 5, 11]), 19
    gains = saving_steps(SIZE, (0.6, 0.3, 0.0001), lengths, longest)
    # max(1, ceil(f n)): 7 and 4 of 11, 3 and 2 of 5.
    kept = {11: (7, 4), 5: (3, 2)}

    def mean(cost):
        return np.mean([cost(int(n)) for n in lengths])

    expected = [
        3 * encoder(longest, longest, longest),
        2 * encoder(longest, longest, longest) + last(longest),
        mean(lambda n: 2 * encoder(n, n, n) + last(n)),
        mean(lambda n: encoder(n, n, kept[n][0]) + encoder(kept[n][0], kept[n][0], kept[n][1]) + last(kept[n][1])),
        mean(lambda n: encoder(n, *[kept[n][0]] * 2) + encoder(kept[n][0], *[kept[n][1]] * 2) + last(kept[n][1])),
    ]
    np.testing.assert_allclose([gain.multiply_adds for gain in gains], expected, rtol=1e-12)
    assert [gain.exact for gain in gains] == [True, True, True, False, True]


def test_the_ends_are_those_of_the_closing_table():
    lengths, configuration = np.array([3, 13, 17]), (11, 5, 2)
    gains = saving_steps(SIZE, configuration, lengths, 23)
    cost = summarize_cost(SIZE, configuration, lengths, 23)
    assert gains[1].multiply_adds == cost["padded"]["dense"]
    assert gains[2].multiply_adds == cost["unpadded"]["dense"]
    assert gains[4].multiply_adds == cost["unpadded"]["reduced"]


def test_where_nothing_leaves_nothing_is_saved():
    *_, dense, late, early = saving_steps(SIZE, (1.0, 1.0, 1.0), np.array([7, 13]), 23)
    assert dense.multiply_adds == late.multiply_adds == early.multiply_adds
