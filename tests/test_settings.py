import pytest

from powerbert_tf.settings import resolve_settings


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
    assert settings.distillation == distillation
    assert settings.epochs_retrain == epochs
    assert settings.learning_rate_retrain == pytest.approx(rate)


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
    assert resolve_settings("MRPC", **given).target_speedup == target
