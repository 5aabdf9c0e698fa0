import dataclasses

import numpy as np
import pytest
from fake_clock import Clock
from tiny_bert import tiny_config

from powerbert_tf.elimination.reduction import Reduction
from powerbert_tf.latency import cost_files, timing
from powerbert_tf.latency.costs import NARROWED, CostTable
from powerbert_tf.models.config import BertConfig

CONFIG = BertConfig(**tiny_config())  # 3 encoders
N = 24  # measured are 3, 6 and 12 rows
B = 5


@pytest.fixture
def table():
    """Every row costs 1 wherever it is, and half of that with 3/8 of the neurons, 10 of 29; nothing else costs."""
    rows = np.arange(1, N + 1)
    nothing, full = np.zeros(N), np.ones(N)
    widths = {"neurons": np.array([10, 29]), "heads": np.array([5])}
    ratios = {
        "neurons": {"update": np.array([full / 2, full]), "last": np.array([full, full])},
        "heads": dict.fromkeys(NARROWED["heads"], full[None]),
    }
    return CostTable("ms", "", B, rows, nothing, nothing, rows * 1.0, nothing, nothing, widths, ratios)


def predicted(rows):
    # A geometric schedule to 0.1 keeps 0.1 ** (1/3) = 0.4642 and 0.2155; the last encoder's rows cost nothing here.
    first, second = (np.ceil(fraction * rows) for fraction in (0.4642, 0.2155))
    return 2 * rows / (first + second)


def predicted_narrowed(rows):
    # To 0.3: 0.6695 and 0.4482.
    first, second = (np.ceil(fraction * rows) for fraction in (0.6695, 0.4482))
    return 2 * rows / (first / 2 + second / 2)


@pytest.mark.parametrize(
    ("reduced", "narrowed", "error"),
    [(1.0, 1.0, 0.0), (1.25, 1.0, 0.25), (0.8, 1.1, 0.25), (1.0, 1.25, 0.25), (1.1, 0.8, 0.25)],
)
def test_the_error_is_the_worse_factor_between_prediction_and_measurement(monkeypatch, table, reduced, narrowed, error):
    def measure(models, batches, repeats, jit_compile):
        assert (repeats, jit_compile) == (7, False)
        assert list(models) == ["dense", "reduced", "narrowed"]
        rows = np.array([batch["token_ids"].shape[1] for batch in batches])
        assert [batch["token_ids"].shape for batch in batches] == [(B, 3), (B, 6), (B, 12)]
        assert models["dense"].retention_configuration is None
        assert models["reduced"].reduction == Reduction((0.4642, 0.2155, 0.1))
        assert models["narrowed"].reduction == Reduction((0.6695, 0.4482, 0.3), neurons=(10,) * 3, heads=(3,) * 3)
        dense = predicted(rows)
        return {"dense": dense, "reduced": np.full(3, reduced), "narrowed": dense / predicted_narrowed(rows) * narrowed}

    monkeypatch.setattr(cost_files, "measure_latency", measure)
    assert cost_files.prediction_error(table, CONFIG, N, repeats=7) == pytest.approx(error)


def test_errors_either_way_do_not_add_up(monkeypatch, table):
    def measure(models, batches, repeats, jit_compile):
        rows = np.array([batch["token_ids"].shape[1] for batch in batches])
        times = np.array([2.0, 1.0, 0.5])
        return {
            "dense": predicted(rows),
            "reduced": times,
            "narrowed": times * predicted(rows) / predicted_narrowed(rows),
        }

    monkeypatch.setattr(cost_files, "measure_latency", measure)
    assert cost_files.prediction_error(table, CONFIG, N) == pytest.approx(0.0)


def test_narrowed_models_are_checked_as_what_they_are_narrowed_from(monkeypatch, table):
    config = dataclasses.replace(CONFIG, shares_encoders=True, neurons=(5,) * 3, heads=(2,) * 3)

    def measure(models, batches, repeats, jit_compile):
        assert not models["dense"].config.is_narrowed
        assert models["narrowed"].config.neurons == (10,) * 3
        return dict.fromkeys(models, np.ones(3))

    monkeypatch.setattr(cost_files, "measure_latency", measure)
    assert cost_files.prediction_error(table, config, N) > 0


def test_models_are_timed(monkeypatch, table):
    clock = Clock(monkeypatch)
    milliseconds = iter(np.arange(1.0, 1000.0))
    # Whatever is called takes longer each time: the error is known from the order of the calls alone.
    monkeypatch.setattr(
        timing,
        "compiled_once",
        lambda model, jit_compile: clock.function(model.name, lambda length, call: next(milliseconds)),
    )
    assert cost_files.prediction_error(table, CONFIG, N, repeats=1) > 0
    # The first call at each length is not measured; then each model once at each length, in turns.
    assert [length for _, length in clock.calls] == 2 * [3, 3, 3, 6, 6, 6, 12, 12, 12]
