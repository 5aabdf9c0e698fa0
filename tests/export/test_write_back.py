"""Back again: what is written is what `transformers` and Google's names want, and comes back the same."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from tiny_bert import (
    random_inputs,
    random_weights,
    tiny_config,
    write_google_checkpoint,
    write_hugging_face_checkpoint,
)
from tiny_family import KINDS, NUM_LABELS, family_inputs, google_albert_variables, logits_of, write_family_checkpoint

from powerbert_tf import load_classifier
from powerbert_tf.checkpoints import find_checkpoint, google, hugging_face, named_weights
from powerbert_tf.checkpoints.config_files import google_config
from powerbert_tf.common.errors import InputError
from powerbert_tf.data.kinds import LABELS
from powerbert_tf.models.architectures import ARCHITECTURES
from powerbert_tf.models.config import config_of
from powerbert_tf.models.narrow import prefix
from powerbert_tf.tokenizers.files import load_tokenizer

N = 23
CLASSES = ("a", "b", "c", "d", "e", "f", "g")
TINY = {"vocab_size": 97, "max_position_embeddings": 31}


def inputs_for(kind):
    return family_inputs(random_inputs(TINY, batch=5, length=19), kind)


def ours(model, inputs):
    return ops.convert_to_numpy(model(inputs))


def same_weights(model, other):
    expected = named_weights(other)
    assert named_weights(model).keys() == expected.keys()
    return all(np.array_equal(weight.numpy(), expected[path].numpy()) for path, weight in named_weights(model).items())


@pytest.mark.parametrize("name", KINDS)
def test_transformers_reads_what_is_written(name, tmp_path):
    transformers = pytest.importorskip("transformers")
    kind = KINDS[name]
    source = write_family_checkpoint(tmp_path / "source", kind)
    model = load_classifier(tmp_path / "source", NUM_LABELS, N)
    (tmp_path / "written").mkdir()
    hugging_face.write_checkpoint(tmp_path / "written", model, CLASSES, source.config.pad_token_id)
    theirs, told = transformers.AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "written", output_loading_info=True
    )
    assert not any(told.values()), told
    assert type(theirs) is type(source)
    assert theirs.config.id2label == dict(enumerate(CLASSES))
    inputs = inputs_for(kind)
    np.testing.assert_allclose(logits_of(theirs.eval(), kind, inputs), ours(model, inputs), atol=1e-5)
    for key, value in kind.values.items():
        assert getattr(theirs.config, key) == value
    assert same_weights(load_classifier(tmp_path / "written", NUM_LABELS, N), model)


@pytest.mark.parametrize("name", KINDS)
def test_a_configuration_comes_back(name, tmp_path):
    write_family_checkpoint(tmp_path, KINDS[name])
    config = find_checkpoint(tmp_path).config
    values = hugging_face.hugging_face_config(config, CLASSES, NUM_LABELS, config.pad_token_id)
    assert config_of(config.architecture, values) == config


def test_a_regression_is_told(tmp_path):
    transformers = pytest.importorskip("transformers")
    write_family_checkpoint(tmp_path / "source", KINDS["bert"], num_labels=1)
    model = load_classifier(tmp_path / "source", 1, N)
    (tmp_path / "written").mkdir()
    hugging_face.write_checkpoint(tmp_path / "written", model)
    config = transformers.AutoConfig.from_pretrained(tmp_path / "written")
    assert (config.problem_type, config.num_labels) == ("regression", 1)


def test_several_labels_are_answered_as_in_the_pipeline_of_transformers(tmp_path):
    transformers = pytest.importorskip("transformers")
    write_hugging_face_checkpoint(tmp_path / "source", config := tiny_config(), random_weights(config, 3))
    model = load_classifier(tmp_path / "source", 3, N)
    (tmp_path / "written").mkdir()
    hugging_face.write_checkpoint(tmp_path / "written", model, ("a", "b", "c"), kind=LABELS)
    found = find_checkpoint(tmp_path / "written")
    assert (found.is_multi_label, found.classes, found.problem) == (True, ("a", "b", "c"), "")
    shutil.copy(tmp_path / "source" / "vocab.txt", tmp_path / "written")
    tokenizer = load_tokenizer(find_checkpoint(tmp_path / "written"))
    token_ids, segment_ids = (ids.to_tensor() for ids in tokenizer([tf.constant(["a b c"])], N))
    logits = model({"token_ids": token_ids, "segment_ids": segment_ids, "padding_mask": tf.ones_like(token_ids)})
    pipeline = transformers.pipeline(
        "text-classification",
        transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "written"),
        tokenizer=transformers.BertTokenizerFast(str(tmp_path / "written" / "vocab.txt")),
        top_k=None,
    )
    (answer,) = pipeline(["a b c"])
    theirs = {one["label"]: one["score"] for one in answer}
    ours = LABELS.answers(ops.convert_to_numpy(logits)[0])
    assert [theirs[name] for name in "abc"] == pytest.approx(ours.tolist(), abs=1e-5)


def names_in(folder):
    [index] = folder.glob("*.index")
    return set(tf.train.load_checkpoint(str(index.with_suffix(""))).get_variable_to_shape_map())


def test_google_berts_variables_are_the_originals(tmp_path):
    config = tiny_config()
    weights = random_weights(config, NUM_LABELS)
    (tmp_path / "written").mkdir()
    write_google_checkpoint(tmp_path / "source", config, weights)
    model = load_classifier(tmp_path / "source", NUM_LABELS, N)
    google.write_checkpoint(tmp_path / "written", model)
    assert names_in(tmp_path / "written") == set(weights)
    read = tf.train.load_checkpoint(str(tmp_path / "written" / "bert_model.ckpt"))
    for name, array in weights.items():
        np.testing.assert_array_equal(read.get_tensor(name), array)
    assert json.loads((tmp_path / "written" / "bert_config.json").read_text()) == config
    assert same_weights(load_classifier(tmp_path / "written", NUM_LABELS, N), model)


def test_google_alberts_variables_are_the_originals(tmp_path):
    theirs = write_family_checkpoint(tmp_path / "source", KINDS["albert v2"])
    model = load_classifier(tmp_path / "source", NUM_LABELS, N)
    (tmp_path / "written").mkdir()
    google.write_checkpoint(tmp_path / "written", model)
    original = google_albert_variables(theirs)
    of_the_model = {name for name in original if name.startswith("bert/") and "lamb_m" not in name}
    assert names_in(tmp_path / "written") == of_the_model | {"output_weights", "output_bias"}
    read = tf.train.load_checkpoint(str(tmp_path / "written" / "model.ckpt-best"))
    for name in of_the_model:
        np.testing.assert_array_equal(read.get_tensor(name), original[name])
    assert json.loads((tmp_path / "written" / "albert_config.json").read_text())["hidden_act"] == "gelu"
    again = load_classifier(tmp_path / "written", NUM_LABELS, N)
    assert same_weights(again, model)
    inputs = inputs_for(KINDS["albert v2"])
    np.testing.assert_allclose(ours(again, inputs), logits_of(theirs, KINDS["albert v2"], inputs), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("roberta", r"RoBERTa has no format of Google's; expected one of BERT, ALBERT"),
        ("distilbert", r"DistilBERT has no format of Google's"),
        ("electra", r"ELECTRA has no format of Google's"),
        ("albert v1", r"hidden_act='gelu' cannot be written as Google's ALBERT, whose 'gelu' means 'gelu_new'"),
    ],
)
def test_what_google_has_no_word_for_is_refused(name, message, tmp_path):
    write_family_checkpoint(tmp_path, KINDS[name])
    with pytest.raises(InputError, match=message):
        google_config(find_checkpoint(tmp_path).config)


def test_an_epsilon_of_its_own_is_written_down():
    config = config_of("bert", {**tiny_config(), "layer_norm_eps": 1e-7})
    files, values = google_config(config)
    assert files == ARCHITECTURES["bert"].google
    assert config_of("bert", values) == config


NARROW = {
    "per encoder": ((17, 23, 7), (5, 2, 3)),
    "neurons alone, the same in each": ((17, 17, 17), None),
}


@pytest.mark.parametrize("widths", NARROW.values(), ids=NARROW)
@pytest.mark.parametrize("name", ["bert", "albert v2"])
@pytest.mark.parametrize("form", [hugging_face, google])
def test_a_narrowed_model_is_filled_up_with_zeros_and_comes_back_narrow(form, name, widths, tmp_path):
    write_family_checkpoint(tmp_path / "source", KINDS[name])
    source = load_classifier(tmp_path / "source", NUM_LABELS, N, (0.9, 0.5, 0.1))
    if name == "albert v2":  # all encoders are one
        widths = [width and width[-1:] * len(width) for width in widths]
    model = prefix(source, *widths)
    (tmp_path / "written").mkdir()
    form.write_checkpoint(tmp_path / "written", model)
    wide = load_classifier(tmp_path / "written", NUM_LABELS, N, (0.9, 0.5, 0.1))
    assert (wide.config.intermediate_size, wide.config.num_attention_heads) == (max(widths[0]), 5)
    inputs = inputs_for(KINDS[name])
    np.testing.assert_allclose(ours(wide, inputs), ours(model, inputs), atol=1e-5)
    assert same_weights(prefix(wide, *widths), model)


def test_transformers_reads_a_narrowed_model(tmp_path):
    pytest.importorskip("transformers")
    from transformers import AutoModelForSequenceClassification

    write_family_checkpoint(tmp_path / "source", KINDS["bert"])
    model = prefix(load_classifier(tmp_path / "source", NUM_LABELS, N), *NARROW["per encoder"])
    (tmp_path / "written").mkdir()
    hugging_face.write_checkpoint(tmp_path / "written", model)
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "written").eval()
    inputs = inputs_for(KINDS["bert"])
    np.testing.assert_allclose(logits_of(theirs, KINDS["bert"], inputs), ours(model, inputs), atol=1e-5)


def test_files_can_be_read_by_others(tmp_path):
    write_family_checkpoint(tmp_path / "source", KINDS["bert"])
    model = load_classifier(tmp_path / "source", NUM_LABELS, N)
    for write, name in ((hugging_face.write_checkpoint, "hugging_face"), (google.write_checkpoint, "google")):
        (tmp_path / name).mkdir()
        write(tmp_path / name, model)
        for path in (tmp_path / name).iterdir():
            assert path.stat().st_mode & 0o044 == 0o044, path
