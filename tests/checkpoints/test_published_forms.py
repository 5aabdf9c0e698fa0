"""Forms in which `transformers` leaves a checkpoint: in shards, compiled, in half precision, without a classifier."""

import json
import re

import numpy as np
import pytest
from keras import ops
from safetensors.numpy import load_file, save_file
from tiny_bert import random_inputs, random_weights, tiny_config, write_google_checkpoint
from tiny_family import KINDS, NUM_LABELS, family_inputs, logits_of, write_family_checkpoint

from powerbert_tf.checkpoints import find_checkpoint, load_classifier
from powerbert_tf.common.errors import InputError
from powerbert_tf.runs.trained_classifier import find_trained_classifier

N = 23
INPUTS = random_inputs(tiny_config(), batch=5, length=19)
FAMILY = ["bert", "albert v2", "distilbert", "roberta", "electra"]


@pytest.fixture
def written(tmp_path):
    """A classifier of BERT as `transformers` writes it, and its logits."""
    model = write_family_checkpoint(tmp_path, KINDS["bert"])
    return tmp_path, logits_of(model, KINDS["bert"], INPUTS), model


def assert_answers(folder, expected, atol=1e-5):
    found = load_classifier(folder, NUM_LABELS, N)(INPUTS)
    np.testing.assert_allclose(ops.convert_to_numpy(found), expected, atol=atol)


@pytest.mark.parametrize("kind", FAMILY)
def test_shards(kind, tmp_path):
    model = write_family_checkpoint(tmp_path / "whole", KINDS[kind])
    model.save_pretrained(tmp_path / "shards", max_shard_size="13KB")
    assert len(list((tmp_path / "shards").glob("model-*.safetensors"))) > 1
    inputs = family_inputs(INPUTS, KINDS[kind])
    found = load_classifier(tmp_path / "shards", NUM_LABELS, N)(inputs)
    np.testing.assert_allclose(ops.convert_to_numpy(found), logits_of(model, KINDS[kind], inputs), atol=1e-5)


def test_shards_that_are_missing_or_named_by_a_damaged_index(written):
    folder, _, model = written
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="13KB")
    index = folder / "model.safetensors.index.json"
    first = sorted(folder.glob("model-*.safetensors"))[0]
    before = find_checkpoint(folder).fingerprint()
    first.rename(folder / "elsewhere")
    with pytest.raises(InputError, match=rf"index\.json: names {first.name}, which are not there"):
        find_checkpoint(folder)
    (folder / "elsewhere").rename(first)
    assert find_checkpoint(folder).fingerprint() == before
    index.write_text(json.dumps({"weight_map": {}}))
    with pytest.raises(InputError, match=r"index\.json: has no weight_map"):
        find_checkpoint(folder)


@pytest.mark.parametrize(
    "prefix", ["_orig_mod.", "module.", "model.", "module._orig_mod.", "encoder.", "0.auto_model."]
)
@pytest.mark.parametrize("kind", FAMILY)
def test_a_prefix_of_all_tensors_and_buffers_are_left_out(kind, prefix, tmp_path):
    """As `torch.compile`, several devices, and a module around the model name them."""
    model = write_family_checkpoint(tmp_path, KINDS[kind])
    path, base = tmp_path / "model.safetensors", KINDS[kind].classes.lower()
    tensors = load_file(path)
    for buffer in ("position_ids", "token_type_ids"):
        tensors[f"{base}.embeddings.{buffer}"] = np.zeros([1, 31], "int64")
    save_file({f"{prefix}{name}": value for name, value in tensors.items()}, path)
    inputs = family_inputs(INPUTS, KINDS[kind])
    found = load_classifier(tmp_path, NUM_LABELS, N)(inputs)
    np.testing.assert_allclose(ops.convert_to_numpy(found), logits_of(model, KINDS[kind], inputs), atol=1e-5)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("tf_model.h5", r"tf_model\.h5 is TensorFlow weights of transformers: load them there with from_tf=True"),
        ("flax_model.msgpack", r"flax_model\.msgpack is Flax weights"),
        ("adapter_model.safetensors", r"adapter_model\.safetensors is an adapter without its model: merge it"),
        ("adapter_model.bin", r"adapter_model\.bin is an adapter"),
        ("model.onnx", r"model\.onnx is a graph"),
    ],
)
@pytest.mark.parametrize("has_config", [True, False])
def test_what_cannot_be_read_is_named(file, message, has_config, written):
    folder, _, _ = written
    (folder / "model.safetensors").rename(folder / file)
    if not has_config:
        (folder / "config.json").unlink()
    with pytest.raises(InputError, match=message):
        find_checkpoint(folder)


def test_a_checkpoint_of_objects_is_named(tmp_path):
    import tensorflow as tf

    write_google_checkpoint(tmp_path, tiny_config(), random_weights(tiny_config()))
    tf.train.Checkpoint(step=tf.Variable(7)).write(str(tmp_path / "bert_model.ckpt"))
    with pytest.raises(
        InputError, match=r"bert_model\.ckpt: a checkpoint of TensorFlow 2, whose variables are named by"
    ):
        load_classifier(tmp_path, NUM_LABELS, N)


@pytest.mark.parametrize("name", ["gelu_python", "gelu_fast", "swish"])
def test_activations_of_several_names(name, tmp_path):
    model = write_family_checkpoint(tmp_path, KINDS["bert"], hidden_act=name)
    assert_answers(tmp_path, logits_of(model, KINDS["bert"], INPUTS))


@pytest.mark.parametrize(("dtype", "atol"), [("float16", 0.02), ("bfloat16", 0.15)])
def test_half_precision(dtype, atol, written):
    import torch

    folder, expected, model = written
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    assert_answers(folder, expected, atol)


HEADS = {
    "TokenClassification": r"its head answers a class for each word \(ForTokenClassification\); a new head is made",
    "QuestionAnswering": r"its head answers where in a text an answer is \(ForQuestionAnswering\); a new head is made",
    "MultipleChoice": r"its head answers which of several options fits \(ForMultipleChoice\); a new head is made",
}


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("kind", FAMILY)
def test_heads_of_other_tasks_make_room_for_a_new_one(kind, head, tmp_path, capsys):
    transformers = pytest.importorskip("transformers")
    classes = KINDS[kind].classes
    config = getattr(transformers, f"{classes}Config")(**{**KINDS[kind].values, "num_labels": 2})
    theirs = getattr(transformers, f"{classes}For{head}")(config)
    theirs.save_pretrained(tmp_path)
    outputs = 1 if head == "MultipleChoice" else 2  # as many as the head has: it would pass for the task's
    model = load_classifier(tmp_path, outputs, N)
    assert re.search(HEADS[head], capsys.readouterr().out)
    embeddings = theirs.get_input_embeddings().weight.detach().numpy()
    np.testing.assert_array_equal(model.get_layer("embeddings").word_embeddings.numpy(), embeddings)
    assert not np.any(ops.convert_to_numpy(model.get_layer("classifier").bias))
    with pytest.raises(InputError, match=r"has no head, so it is not a trained classifier|its head answers"):
        find_trained_classifier(str(tmp_path))


def test_a_head_for_options_is_taken_for_options(tmp_path, capsys):
    transformers = pytest.importorskip("transformers")
    theirs = transformers.BertForMultipleChoice(transformers.BertConfig(**KINDS["bert"].values))
    theirs.save_pretrained(tmp_path)
    model = load_classifier(tmp_path, 1, N, choices=4)
    assert "new head" not in capsys.readouterr().out
    found = ops.convert_to_numpy(model.get_layer("classifier").kernel)
    np.testing.assert_array_equal(found[:, 0], theirs.classifier.weight.detach().numpy()[0])


def test_a_classifier_whose_pooler_is_missing_is_damaged(written):
    folder, _, _ = written
    path = folder / "model.safetensors"
    save_file({name: value for name, value in load_file(path).items() if ".pooler." not in name}, path)
    with pytest.raises(InputError, match=r"lacks pooler/bias, pooler/kernel"):
        load_classifier(folder, NUM_LABELS, N)


@pytest.mark.parametrize("kind", FAMILY)
def test_a_masked_language_model_gets_what_a_classifier_adds(kind, tmp_path, capsys):
    transformers = pytest.importorskip("transformers")
    config = getattr(transformers, f"{KINDS[kind].classes}Config")(**KINDS[kind].values)
    theirs = getattr(transformers, f"{KINDS[kind].classes}ForMaskedLM")(config)
    theirs.save_pretrained(tmp_path)
    model = load_classifier(tmp_path, NUM_LABELS, N)
    with pytest.raises(InputError, match="has no head, so it is not a trained classifier"):
        find_trained_classifier(str(tmp_path))
    said = capsys.readouterr().out
    # Those of the others, whose pretraining has no pooler, have none in any checkpoint.
    assert ("has no pooler; a new one is made" in said) == (kind in ("bert", "albert v2"))
    embeddings = theirs.get_input_embeddings().weight.detach().numpy()
    np.testing.assert_array_equal(model.get_layer("embeddings").word_embeddings.numpy(), embeddings)
    assert ops.convert_to_numpy(model(family_inputs(INPUTS, KINDS[kind]))).shape == (5, NUM_LABELS)
