"""The arithmetic of `benchmarks.scale`; what it compares is tested in `test_scale`."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import REPOSITORY
from made_up_rows import encoded_rows
from tiny_bert import tiny_config

from benchmarks.common.markdown import table
from benchmarks.scale import __main__ as scale
from powerbert_tf.batches.padded_batches import Batches
from powerbert_tf.models.classifier import BertClassifier
from powerbert_tf.models.config import BertConfig
from powerbert_tf.training.distribution.replicas import shares

CONFIG = BertConfig(**tiny_config())


def test_weights_are_those_of_a_model():
    assert scale.count_weights(CONFIG, 5) == BertClassifier(CONFIG, 5, 23).count_params()


def test_an_estimate_by_hand():
    hardware = scale.Hardware("seven", 7, flops=2e9, link=1e6, source="made up")
    found = scale.estimate(CONFIG, hardware, batch_size=20, share=0.5)
    # 3 rows a device, 128 positions: 4 H^2 + 2 H I a row and encoder, 2 T H for attention; the last one for [CLS].
    weights = scale.count_weights(CONFIG, 3)
    sent = 2 * 6 / 7 * 4 * weights
    multiply_adds = scale.multiply_adds(CONFIG.encoder_size, 128)
    compute = 3 * 3 * multiply_adds / (0.5 * 1e9)
    assert found["rows a device"] == 3
    assert found["MB sent a device"] == pytest.approx(sent / 1e6)
    assert found["step ms"] == pytest.approx(1000 * (compute + sent / 1e6))
    assert found["minutes, 3 epochs"] == pytest.approx(3 * 19636 * (compute + sent / 1e6) / 60)  # 392702 / 20, up


def test_the_share_of_the_peak_by_hand():
    measured = {
        "results": [
            {"engine": "ours, fine-tuning", "length": 128, "batch": 5, "p50_ms": 2000.0},
            {"engine": "another", "length": 128, "batch": 5, "p50_ms": 1.0},
        ],
        "multiply_adds": [{"length": 128, "dense": 7e9}],
        "matrix_product_peak": 7e10,
    }
    assert scale.share_of_peak(measured) == pytest.approx(3 * 5 * 7e9 / 2 / 7e10)


def test_the_page_tells_what_the_code_computes():
    assert table(pd.DataFrame(scale.estimates())) in (REPOSITORY / "docs" / "scale.md").read_text(encoding="utf-8")


def test_the_largest_difference():
    one = {"a": {"losses": [1.0, 2.0], "metrics": {"accuracy": 0.5}, "logits": [[0.0]]}}
    other = {"a": {"losses": [1.0, 2.25], "metrics": {"accuracy": 0.5}, "logits": [[0.5]]}, "b": {}}
    assert scale.compare(one, other) == (0.25, 0.5, True)
    other["a"]["metrics"]["accuracy"] = 0.75
    assert scale.compare(one, other) == (0.25, 0.5, False)


def test_a_report_is_written():
    report = {
        **{"command": "python -m benchmarks.scale", "date": "2 May", "python": "3.11", "packages": {"keras": "3"}},
        **{"threads": 2, "shape": "minilm", "share_of_peak": 0.5, "estimates": scale.estimates()},
        "checks": [{"way": "one device", "same": True}],
        "times": [{"way": "one device", "step ms": 7.0}],
    }
    text = scale.to_markdown(report)
    assert "| one device | True |" in text
    assert "| one device | 7.00 |" in text
    assert "TPU v5e-8" in text
    assert Path(scale._MEASURED).is_file()
    json.dumps(report)


@pytest.mark.parametrize(("replicas", "own"), [(2, range(2)), (5, range(2, 4)), (13, range(13))])
def test_shares_hold_each_row_once(replicas, own):
    split = encoded_rows([[1]] * 18, 7, np.arange(18))
    rows = np.random.default_rng(3).permutation(18)
    batches = Batches(split, np.split(rows, [11]).__getitem__, np.arange(2), np.array([5, 7]))
    found = shares(batches, replicas, own, size=6)
    assert found.filled_to == 6
    np.testing.assert_array_equal(found.lengths, np.repeat([5, 7], len(own)))
    for number in range(len(batches)):
        parts = [found.rows(number * len(own) + place) for place in range(len(own))]
        sizes = [len(part) for part in parts]
        assert max(sizes) - min(sizes) <= 1
        of_all = shares(batches, replicas, range(replicas), size=6)
        everyone = [of_all.rows(number * replicas + place) for place in range(replicas)]
        np.testing.assert_array_equal(np.concatenate(everyone), batches.rows(number))
        for part, expected in zip(parts, everyone[own.start : own.stop], strict=True):
            np.testing.assert_array_equal(part, expected)
