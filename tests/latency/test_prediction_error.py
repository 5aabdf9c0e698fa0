import numpy as np
import pytest
from fake_clock import Clock
from tiny_bert import tiny_config

from powerbert_tf.latency import cost_files, timing
from powerbert_tf.latency.costs import CostTable
from powerbert_tf.models.config import BertConfig

CONFIG = BertConfig(**tiny_config())  # 3 encoders
N = 24  # measured are 3, 6 and 12 rows
B = 5


@pytest.fixture
def table():
    """Every row costs 1 wherever it is; nothing else costs."""
    rows = np.arange(1, N + 1)
    nothing = np.zeros(N)
    return CostTable("ms", "", B, rows, nothing, nothing, rows.astype("float64"), nothing, nothing)


def predicted(rows):
    # A geometric schedule to 0.1 keeps 0.1 ** (1/3) = 0.4642 and 0.2155; the last encoder's rows cost nothing here.
    first, second = (np.ceil(fraction * rows) for fraction in (0.4642, 0.2155))
    return 2 * rows / (first + second)


@pytest.mark.parametrize(("factor", "error"), [(1.0, 0.0), (1.25, 0.25), (0.8, 0.25)])
def test_the_error_is_the_factor_between_prediction_and_measurement(monkeypatch, table, factor, error):
    def measure(models, batches, repeats, jit_compile):
        assert (repeats, jit_compile) == (7, False)
        assert list(models) == ["dense", "reduced"]
        rows = np.array([batch["token_ids"].shape[1] for batch in batches])
        assert [batch["token_ids"].shape for batch in batches] == [(B, 3), (B, 6), (B, 12)]
        assert models["dense"].retention_configuration is None
        assert models["reduced"].retention_configuration == (0.4642, 0.2155, 0.1)
        return {"dense": predicted(rows), "reduced": np.full(3, factor)}

    monkeypatch.setattr(cost_files, "measure_latency", measure)
    assert cost_files.prediction_error(table, CONFIG, N, repeats=7) == pytest.approx(error)


def test_errors_either_way_do_not_add_up(monkeypatch, table):
    def measure(models, batches, repeats, jit_compile):
        rows = np.array([batch["token_ids"].shape[1] for batch in batches])
        return {"dense": predicted(rows), "reduced": np.array([2.0, 1.0, 0.5])}

    monkeypatch.setattr(cost_files, "measure_latency", measure)
    assert cost_files.prediction_error(table, CONFIG, N) == pytest.approx(0.0)


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
    assert [length for _, length in clock.calls] == 2 * [3, 3, 6, 6, 12, 12]
