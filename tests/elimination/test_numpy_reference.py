"""The NumPy reference against the arrays of the original release and against itself; the helpers of `tiny_bert`."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy_reference import forward, ranking, significance_scores, softmax
from tiny_bert import (
    random_inputs,
    random_weights,
    tiny_config,
    vocabulary,
    write_google_checkpoint,
    write_hugging_face_checkpoint,
)

ORIGINAL_RELEASE = Path(__file__).resolve().parents[3] / "shared" / "original_release"
ORIGINAL_SEMANTICS = {"padding_queries_vote": True, "pin_cls_in_soft_extract": False}


def read_checkpoint(path):
    tf = pytest.importorskip("tensorflow")
    reader = tf.train.load_checkpoint(str(path))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


@pytest.fixture(scope="module", params=["classification", "regression"])
def original(request):
    """A case of the original release: weights, config, inputs, expected."""
    folder = ORIGINAL_RELEASE / request.param
    if not folder.is_dir():
        pytest.skip(f"the arrays of the original release are not here: no folder {folder}")
    return {
        "weights": read_checkpoint(folder / "bert_model.ckpt"),
        "config": json.loads((folder / "bert_config.json").read_text()),
        "inputs": dict(np.load(folder / "inputs.npz")),
        "expected": dict(np.load(folder / "expected.npz")),
    }


def run_original(original, case, **semantics):
    retention = {
        "plain": {},
        "soft_extract": {"retention_parameters": original["expected"]["retention_parameters"]},
        "extract": {"retention_configuration": original["expected"]["retention_configuration"]},
    }[case]
    return forward(original["weights"], original["config"], **original["inputs"], **retention, **semantics)


@pytest.mark.parametrize("case", ["plain", "soft_extract", "extract"])
def test_original_release(original, case):
    expected = {
        key.removeprefix(f"{case}/"): value for key, value in original["expected"].items() if key.startswith(f"{case}/")
    }
    result = run_original(original, case, **ORIGINAL_SEMANTICS)

    actual = {
        "probabilities": softmax(result["logits"]),
        "regression": result["logits"],
        "pooled_output": result["pooled_output"],
        **{f"encoder_{j}/word_vectors": value for j, value in enumerate(result["word_vectors"])},
    }
    assert len(expected) == 2 + (0 if case == "plain" else original["config"]["num_hidden_layers"])
    for key, value in expected.items():
        tolerance = 1e-5 if key in ("probabilities", "regression") else 1e-4
        np.testing.assert_allclose(actual[key], value, rtol=0, atol=tolerance, err_msg=key)


@pytest.mark.parametrize("change", [{"padding_queries_vote": False}, {"pin_cls_in_soft_extract": True}])
def test_original_release_tells_semantics_apart(original, change):
    result = run_original(original, "soft_extract", **{**ORIGINAL_SEMANTICS, **change})
    difference = np.abs(result["pooled_output"] - original["expected"]["soft_extract/pooled_output"]).max()
    assert difference > 1e-2


@pytest.fixture(scope="module")
def tiny():
    config = tiny_config()
    return config, random_weights(config, num_outputs=11, seed=3), random_inputs(config, batch=4, length=13, seed=5)


def assert_same_outputs(actual, expected, atol=1e-12):
    for key in ("logits", "pooled_output"):
        np.testing.assert_allclose(actual[key], expected[key], rtol=0, atol=atol, err_msg=key)


def test_shapes(tiny):
    config, weights, inputs = tiny
    plain = forward(weights, config, **inputs)
    assert plain["logits"].shape == (4, 11)
    assert plain["pooled_output"].shape == (4, 35)
    assert plain["word_vectors"] == plain["kept"] == [None, None, None]
    assert [scores.shape for scores in plain["scores"]] == [(4, 13)] * 3

    fast = forward(weights, config, **inputs, retention_configuration=[11, 7, 2])
    assert [value.shape for value in fast["word_vectors"]] == [(4, 11, 35), (4, 7, 35), (4, 2, 35)]
    assert [value.shape for value in fast["kept"]] == [(4, 11), (4, 7), (4, 2)]
    assert [scores.shape for scores in fast["scores"]] == [(4, 13), (4, 11), (4, 7)]


def test_weights_make_attention_far_from_uniform(tiny):
    config, weights, inputs = tiny
    for scores in forward(weights, config, **inputs)["scores"]:
        assert scores[0].max() > 3 * scores[0].min()


def test_keep_everything_is_plain(tiny):
    config, weights, inputs = tiny
    plain = forward(weights, config, **inputs)
    for keep in (13, 17):
        result = forward(weights, config, **inputs, retention_configuration=[keep] * 3)
        assert_same_outputs(result, plain, atol=0)
        np.testing.assert_array_equal(result["kept"], np.broadcast_to(np.arange(13), (3, 4, 13)))


def test_r_of_one_is_plain(tiny):
    config, weights, inputs = tiny
    result = forward(weights, config, **inputs, retention_parameters=np.ones((3, 17)))
    assert_same_outputs(result, forward(weights, config, **inputs), atol=0)


@pytest.mark.parametrize(
    "retention",
    [
        {},
        {"retention_parameters": np.linspace(1, 0.2, 3 * 19).reshape(3, 19)},
        {"retention_configuration": [11, 5, 2]},
        {"retention_configuration": [11, 5, 2], "selection": "head"},
    ],
)
def test_more_padding_is_the_same(tiny, retention):
    config, weights, inputs = tiny
    padded = {name: np.pad(value, ((0, 0), (0, 6))) for name, value in inputs.items()}
    assert_same_outputs(
        forward(weights, config, **padded, **retention), forward(weights, config, **inputs, **retention)
    )


def test_more_padding_is_not_the_same_when_padding_votes(tiny):
    config, weights, inputs = tiny
    padded = {name: np.pad(value, ((0, 0), (0, 6))) for name, value in inputs.items()}
    semantics = {"retention_parameters": np.linspace(1, 0.2, 3 * 19).reshape(3, 19), "padding_queries_vote": True}
    result, expected = (forward(weights, config, **given, **semantics)["logits"] for given in (padded, inputs))
    assert np.abs(result - expected).max() > 1e-2


def test_kept_positions_are_the_most_significant_in_order(tiny):
    config, weights, inputs = tiny
    result = forward(weights, config, **inputs, retention_configuration=[7, 3, 1])
    for row in range(4):
        best = sorted(range(1, 13), key=lambda w: (-result["scores"][0][row, w], w))[:6]
        np.testing.assert_array_equal(result["kept"][0][row], [0, *sorted(best)])
        assert set(result["kept"][1][row]) < set(result["kept"][0][row])
        np.testing.assert_array_equal(result["kept"][2][row], [0])

    head = forward(weights, config, **inputs, retention_configuration=[7, 3, 1], selection="head")
    np.testing.assert_array_equal(head["kept"][1], [[0, 1, 2]] * 4)


def test_significance_scores_by_hand():
    attention_probs = np.array([[[0.5, 0.25, 0.25], [0.75, 0.125, 0.125], [0.375, 0.5, 0.125]]])
    # Column sums without the diagonal.
    everyone = significance_scores(attention_probs, np.array([True, True, True]))
    np.testing.assert_array_equal(everyone, [1.125, 0.75, 0.375])
    # Query row 2 is padding: it votes only where asked to.
    is_real = np.array([True, True, False])
    np.testing.assert_array_equal(significance_scores(attention_probs, is_real), [0.75, 0.25, 0.375])
    np.testing.assert_array_equal(significance_scores(attention_probs, is_real, padding_queries_vote=True), everyone)


def test_ranking_by_hand():
    scores, is_real = np.array([0.1, 0.5, 0.9, 0.5, 0.0, 0.0]), np.array([True, True, True, True, False, False])
    assert ranking(scores, is_real, False, "attention") == [2, 1, 3, 0, 4, 5]
    assert ranking(scores, is_real, True, "attention") == [0, 2, 1, 3, 4, 5]
    assert ranking(scores, is_real, True, "head") == [0, 1, 2, 3, 4, 5]


def test_random_inputs():
    inputs = random_inputs(tiny_config(), batch=7, length=17, seed=1)
    lengths = inputs["padding_mask"].sum(axis=1)
    assert list(lengths[:2]) == [17, 2]
    assert len(set(lengths)) == 7
    for row, real in enumerate(lengths):
        assert set(inputs["segment_ids"][row, :real]) == {0, 1}
        assert not inputs["token_ids"][row, real:].any()
    assert all(value.dtype == np.int32 for value in inputs.values())


def test_vocabulary_is_distinct():
    assert len(set(vocabulary(9973))) == 9973


def test_google_checkpoint(tiny, tmp_path):
    config, weights, _ = tiny
    restored = read_checkpoint(write_google_checkpoint(tmp_path, config, weights))
    assert sorted(restored) == sorted(weights)
    for name, value in weights.items():
        np.testing.assert_array_equal(restored[name], value, strict=True)
    assert json.loads((tmp_path / "bert_config.json").read_text()) == config
    assert len((tmp_path / "vocab.txt").read_text().split()) == config["vocab_size"]


# The names of Hugging Face's BertForSequenceClassification with one encoder.
HUGGING_FACE_NAMES = [
    "bert.embeddings.word_embeddings.weight",
    "bert.embeddings.position_embeddings.weight",
    "bert.embeddings.token_type_embeddings.weight",
    "bert.embeddings.LayerNorm.weight",
    "bert.embeddings.LayerNorm.bias",
    "bert.encoder.layer.0.attention.self.query.weight",
    "bert.encoder.layer.0.attention.self.query.bias",
    "bert.encoder.layer.0.attention.self.key.weight",
    "bert.encoder.layer.0.attention.self.key.bias",
    "bert.encoder.layer.0.attention.self.value.weight",
    "bert.encoder.layer.0.attention.self.value.bias",
    "bert.encoder.layer.0.attention.output.dense.weight",
    "bert.encoder.layer.0.attention.output.dense.bias",
    "bert.encoder.layer.0.attention.output.LayerNorm.weight",
    "bert.encoder.layer.0.attention.output.LayerNorm.bias",
    "bert.encoder.layer.0.intermediate.dense.weight",
    "bert.encoder.layer.0.intermediate.dense.bias",
    "bert.encoder.layer.0.output.dense.weight",
    "bert.encoder.layer.0.output.dense.bias",
    "bert.encoder.layer.0.output.LayerNorm.weight",
    "bert.encoder.layer.0.output.LayerNorm.bias",
    "bert.pooler.dense.weight",
    "bert.pooler.dense.bias",
    "classifier.weight",
    "classifier.bias",
]


def test_hugging_face_checkpoint(tmp_path):
    load_file = pytest.importorskip("safetensors.numpy").load_file
    config = tiny_config(num_hidden_layers=1)
    weights = random_weights(config, num_outputs=11)
    tensors = load_file(write_hugging_face_checkpoint(tmp_path / "classifier", config, weights))
    assert sorted(tensors) == sorted(HUGGING_FACE_NAMES)
    for hugging_face_name, google_name in (
        ("bert.embeddings.word_embeddings.weight", "bert/embeddings/word_embeddings"),
        ("bert.encoder.layer.0.output.LayerNorm.weight", "bert/encoder/layer_0/output/LayerNorm/gamma"),
        ("bert.encoder.layer.0.output.LayerNorm.bias", "bert/encoder/layer_0/output/LayerNorm/beta"),
        ("classifier.weight", "output_weights"),
    ):
        np.testing.assert_array_equal(tensors[hugging_face_name], weights[google_name], strict=True)
    for hugging_face_name, google_name in (
        ("bert.encoder.layer.0.attention.self.key.weight", "bert/encoder/layer_0/attention/self/key/kernel"),
        ("bert.encoder.layer.0.output.dense.weight", "bert/encoder/layer_0/output/dense/kernel"),
    ):
        np.testing.assert_array_equal(tensors[hugging_face_name], weights[google_name].T, strict=True)

    pretrained = random_weights(config, num_outputs=None)
    tensors = load_file(write_hugging_face_checkpoint(tmp_path / "encoder", config, pretrained, prefix=""))
    assert sorted(tensors) == sorted(name.removeprefix("bert.") for name in HUGGING_FACE_NAMES[:-2])
