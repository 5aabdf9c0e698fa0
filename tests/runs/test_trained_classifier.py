"""Labels of a user's data meet the outputs of a trained classifier."""

import json

import pyarrow
import pyarrow.parquet
import pytest
from tiny_bert import random_weights, tiny_config, write_hugging_face_checkpoint

from powerbert_tf.common.errors import InputError
from powerbert_tf.data.settings import DataSettings
from powerbert_tf.runs.trained_classifier import find_trained_classifier, load_labeled

CONFIG = tiny_config()
# The order of the numbers is not that of the alphabet.
NAMES = ["sad", "happy", "cross"]
NUMBERS = [number for number in (0, 1, 2, 0, 2, 1, 0) for _ in range(5)]


@pytest.fixture
def data(tmp_path):
    """A Parquet file as `datasets` writes it, whose texts are the numbers of their classes."""
    features = {"label": {"names": NAMES, "_type": "ClassLabel"}, "text": {"dtype": "string", "_type": "Value"}}
    table = pyarrow.table({"text": list(map(str, NUMBERS)), "label": NUMBERS})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pyarrow.parquet.write_table(table, tmp_path / "train.parquet")
    return DataSettings(train_file=str(tmp_path / "train.parquet"), text_column="text", label_column="label")


@pytest.fixture
def classifier(tmp_path):
    """A classifier with three outputs, of which nobody says what they are."""
    write_hugging_face_checkpoint(tmp_path / "checkpoint", CONFIG, random_weights(CONFIG, 3))
    return tmp_path / "checkpoint"


@pytest.mark.parametrize("classes", [(), ("happy", "cross", "sad")])
def test_names_of_numbers_in_a_file_are_the_names_of_the_outputs(data, classifier, classes):
    own = load_labeled(find_trained_classifier(classifier, classes), data)
    assert own.task.classes == (classes or tuple(NAMES))
    for split in own.dataset.splits.values():
        read = [own.task.classes[label] for label in split.labels]
        assert read == [NAMES[int(text)] for text in split.texts[0]]


def test_other_names_than_those_of_the_outputs_are_refused(data, classifier):
    with pytest.raises(InputError, match=r"labels: cross, happy, sad; expected x, y, z or numbers from 0 to 2"):
        load_labeled(find_trained_classifier(classifier, ("x", "y", "z")), data)
