"""The dev rows are those that scikit-learn draws."""

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from powerbert_tf.data.labels import draw_dev_rows


def drawn_by_sklearn(classes, num_rows, count, seed):
    _, dev = train_test_split(np.arange(num_rows), test_size=count, random_state=seed, stratify=classes)
    return sorted(dev.tolist())


@pytest.mark.parametrize("num_classes", [2, 3, 7, 43])
@pytest.mark.parametrize("num_rows", [211, 9973])
@pytest.mark.parametrize("seed", [0, 5])
def test_of_each_class(num_classes, num_rows, seed):
    draw = np.random.default_rng(num_classes)
    # Two of each at least, and many of the first.
    classes = np.concatenate(
        [
            np.arange(num_classes).repeat(2),
            draw.integers(0, num_classes, num_rows - 2 * num_classes) ** 2 // num_classes,
        ]
    )
    draw.shuffle(classes)
    for count in (max(num_rows // 10, num_classes), num_rows // 3):
        found = draw_dev_rows(classes.astype("int32"), num_rows, count, seed)
        assert found.sum() == count
        assert np.flatnonzero(found).tolist() == drawn_by_sklearn(classes, num_rows, count, seed)


def test_classes_that_are_alike_get_the_rows_left_over_by_lot():
    classes = np.tile(np.arange(11), 7)
    for seed in range(5):
        found = draw_dev_rows(classes, 77, 17, seed)
        assert np.flatnonzero(found).tolist() == drawn_by_sklearn(classes, 77, 17, seed)


def test_of_numbers():
    for num_rows, count in ((7, 1), (211, 17)):
        found = draw_dev_rows(None, num_rows, count, 0)
        assert np.flatnonzero(found).tolist() == drawn_by_sklearn(None, num_rows, count, 0)
