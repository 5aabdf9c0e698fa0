"""Text sets of TensorFlow Datasets that were prepared here; nothing touches a network."""

import numpy as np
import pytest
import tensorflow_datasets as tfds

from powerbert_tf.common.errors import InputError
from powerbert_tf.data.own_data import load_own_data
from powerbert_tf.data.settings import DataSettings

RATED = {"train": [("fine", 4.5, 0), ("poor", 1.25, 1)] * 13, "test": [("new", 0.0, -1)] * 7}


class TinyReviews(tfds.core.GeneratorBasedBuilder):
    """Reviews with a class label; the test split has none."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "body": tfds.features.Text(),
            "stars": np.float32,
            "verdict": tfds.features.ClassLabel(names=["good", "bad"]),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, manager):
        return {split: self._generate_examples(rows) for split, rows in RATED.items()}

    def _generate_examples(self, rows):
        for key, (body, stars, verdict) in enumerate(rows):
            yield key, {"body": body, "stars": stars, "verdict": verdict}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    TinyReviews(data_dir=str(folder)).download_and_prepare()
    return folder


@pytest.fixture(autouse=True)
def tfds_dir(prepared, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared))


def test_columns_classes_and_splits_are_its_own():
    own = load_own_data(DataSettings(tfds_name="tiny_reviews", dev_share=0.2))
    assert own.dataset.source == "tfds"
    assert own.task.name == "tiny_reviews"
    assert own.task.classes == ("bad", "good")
    assert own.task.text_columns == ("body",)
    splits = own.dataset.splits
    assert {name: len(split) for name, split in splits.items()} == {"train": 21, "dev": 5, "test": 7}
    for split in (splits["train"], splits["dev"]):
        assert split.texts[0] == [{"good": "fine", "bad": "poor"}[own.task.classes[label]] for label in split.labels]
    assert splits["test"].labels is None
    assert splits["test"].indices[0] == "tfds:tiny_reviews/test:1"


def test_another_column_by_flag():
    own = load_own_data(DataSettings(tfds_name="tiny_reviews", label_column="stars"))
    assert own.task.is_regression
    assert set(own.dataset.splits["train"].labels) <= {4.5, 1.25}
    with pytest.raises(InputError, match=r"--label_column=mark: no such column; .*: 'body', 'stars', 'verdict'"):
        load_own_data(DataSettings(tfds_name="tiny_reviews", label_column="mark"))


def test_what_is_not_prepared_or_not_readable(prepared):
    with pytest.raises(InputError, match=r"--tfds_name=imdb_reviews: not prepared in .*tfds build imdb_reviews"):
        load_own_data(DataSettings(tfds_name="imdb_reviews"))
    with pytest.raises(InputError, match=r"--tfds_name=x and files are given"):
        load_own_data(DataSettings(tfds_name="x", train_file="y"))
    for config in ("a", "b"):
        folder = prepared / "several" / config / "1.0.0"
        folder.mkdir(parents=True)
        (folder / "dataset_info.json").write_text("{")
    with pytest.raises(InputError, match=r"several configurations are prepared; expected one of several/a, several/b"):
        load_own_data(DataSettings(tfds_name="several"))
    with pytest.raises(InputError, match=r"several/a/1\.0\.0: this prepared TFDS data set cannot be read"):
        load_own_data(DataSettings(tfds_name="several/a"))
