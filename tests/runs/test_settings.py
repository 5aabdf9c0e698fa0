import pytest

from powerbert_tf.common.errors import InputError
from powerbert_tf.runs.settings import names_of_stage, resolve_settings


@pytest.mark.parametrize(
    ("given", "distillation", "epochs", "rate"),
    [
        ({}, "logits", 14, 6e-5),
        ({"distillation": "none"}, "none", 7, 3e-5),
        ({"search_method": "paper"}, "none", 7, 3e-5),  # the paper's re-training is as its fine-tuning
        ({"search_method": "paper", "distillation": "kl"}, "kl", 14, 6e-5),
        ({"retention_configuration": "0.5,0.3"}, "logits", 14, 6e-5),
        ({"epochs_retrain": 5, "learning_rate_retrain": 1e-6}, "logits", 5, 1e-6),
    ],
)
def test_distillation_trains_longer_and_faster_unless_told_otherwise(given, distillation, epochs, rate):
    settings = resolve_settings("MRPC", epochs=7, learning_rate=3e-5, **given)
    assert settings.training.distillation == distillation
    assert settings.training.epochs_retrain == epochs
    assert settings.training.learning_rate_retrain == pytest.approx(rate)


@pytest.mark.parametrize(
    ("given", "target"),
    [
        ({}, 2.0),
        ({"target_speedup": 3.0}, 3.0),
        ({"max_loss": 0.01}, 0.0),
        ({"target_latency_ms": 7.0}, 0.0),
        ({"search_method": "paper"}, 0.0),
        ({"retention_configuration": "0.5,0.3"}, 0.0),
    ],
)
def test_twice_the_speed_is_the_target_where_no_other_is_given(given, target):
    assert resolve_settings("MRPC", **given).search.target_speedup == target


@pytest.mark.parametrize(
    ("given", "buckets"),
    [({}, 32), ({"jit_compile": True}, 8), ({"jit_compile": True, "length_buckets": 5}, 5), ({"length_buckets": 3}, 3)],
)
def test_xla_has_fewer_lengths_unless_told_otherwise(given, buckets):
    assert resolve_settings("MRPC", **given).inference.length_buckets == buckets


def test_no_bucket_is_too_few():
    with pytest.raises(InputError, match=r"--length_buckets=0: expected at least 1"):
        resolve_settings("MRPC", length_buckets=0)


def test_xla_changes_what_is_measured_and_no_weights():
    plain, compiled = resolve_settings("MRPC"), resolve_settings("MRPC", jit_compile=True)
    for stage in ("search", "evaluate", "elastic", "pareto"):
        assert set(names_of_stage(compiled, stage)) - set(names_of_stage(plain, stage)) == {
            "jit_compile",
            "length_buckets",
        }
    assert names_of_stage(compiled, "finetune") == names_of_stage(plain, "finetune")
    assert not compiled.inference.in_plain_graph().jit_compile


def test_the_papers_search_ranks_by_the_papers_scores_and_all_else_weighs_them():
    assert resolve_settings("MRPC").search.selection == "weighted"
    assert resolve_settings("MRPC", search_method="soft").search.selection == "weighted"
    assert resolve_settings("MRPC", search_method="paper").search.selection == "attention"
    assert resolve_settings("MRPC", search_method="paper", selection="weighted").search.selection == "weighted"
