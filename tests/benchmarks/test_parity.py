"""The comparison with `transformers` at small sizes; at the published ones, see benchmarks/results/parity.md."""

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from benchmarks.reliability.parity import MODELS, compare, random_inputs

SMALL = {"num_hidden_layers": 2, "num_attention_heads": 5, "hidden_size": 35, "intermediate_size": 29}


@pytest.mark.parametrize("classes", ["Albert", "Roberta"])
def test_small_models_agree(classes):
    others = {
        "Albert": {"embedding_size": 11},
        "Roberta": {"pad_token_id": 1, "max_position_embeddings": 131, "type_vocab_size": 1},
    }
    found = compare(classes, {**SMALL, "vocab_size": 97, **others[classes]})
    assert found["difference"] < 1e-5
    assert found["between_rows"] > 0.01  # the inputs matter
    assert (found["encoders"], found["hidden_size"]) == (2, 35)


def test_batches_have_padding_and_both_segments():
    inputs = random_inputs(97, pad_id=1)
    assert sorted(inputs["padding_mask"].sum(axis=1)) == [2, 37, 61]
    assert (inputs["token_ids"][inputs["padding_mask"] == 0] == 1).all()
    assert ((inputs["segment_ids"] == 1).sum(axis=1) == [31, 1, 19]).all()


def test_every_size_of_albert_is_there():
    sizes = {name: values["hidden_size"] for name, (classes, values) in MODELS.items() if classes == "Albert"}
    assert sorted(set(sizes.values())) == [768, 1024, 2048, 4096]
    assert len(sizes) == 8  # v1 and v2
