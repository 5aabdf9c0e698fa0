"""The bounds of a model's products, by hand; and that they are all of its products. Nothing is timed here."""

import numpy as np
import pytest
from tiny_bert import tiny_config

from benchmarks.inference.roofline import Product, alone, bounds, compare, products, to_markdown
from powerbert_tf.elimination.operations import multiply_adds
from powerbert_tf.models.config import BertConfig, config_of

CONFIG = BertConfig(**tiny_config())
ALBERT = config_of("albert", {**tiny_config(), "embedding_size": 11})
KEPT = tuple(np.linspace(0.9, 0.1, CONFIG.num_hidden_layers).round(4).tolist())


@pytest.mark.parametrize("configuration", [None, KEPT])
def test_products_are_all_multiply_adds_of_a_model(configuration):
    counted = sum(product.multiply_adds for product in products(CONFIG, configuration, 3, 17))
    assert counted == 3 * multiply_adds(CONFIG.encoder_size, 17, configuration)


@pytest.mark.parametrize("configuration", [None, KEPT])
def test_all_weights_are_read_once_whatever_is_eliminated(configuration):
    hidden, inner = CONFIG.hidden_size, CONFIG.intermediate_size
    read = sum(product.weight_bytes for product in products(CONFIG, configuration, 3, 17))
    assert read == 4 * CONFIG.num_hidden_layers * (4 * hidden**2 + 2 * hidden * inner)


def test_each_product_takes_the_longer_of_its_two_bounds():
    few = Product(1, 2, 30, 50, weights="few")  # 3,000 multiply-adds: 3 ms; 6,000 bytes: 6 ms
    many = Product(1, 7, 30, 50, weights="many")  # 10,500 multiply-adds: 10.5 ms; 6,000 bytes: 6 ms
    computed = Product(11, 2, 5, 3)  # 330 multiply-adds: 0.33 ms, nothing is read
    found = bounds([few, many, computed, computed], multiply_adds_a_second=1e6, bytes_a_second=1e6)
    assert found == pytest.approx({"compute": 14.16, "weights": 12.0, "roofline": 6 + 10.5 + 0.66})


def test_weights_that_encoders_share_are_read_once():
    first, again = Product(1, 2, 30, 50, weights="shared"), Product(1, 1, 30, 50, weights="shared")
    found = bounds([first, again], multiply_adds_a_second=1e6, bytes_a_second=1e6)
    assert found == pytest.approx({"compute": 4.5, "weights": 6.0, "roofline": 6 + 1.5})
    hidden, inner = ALBERT.hidden_size, ALBERT.intermediate_size
    read = {product.weights: product.weight_bytes for product in products(ALBERT, None, 3, 17)}
    # The last encoder takes query apart from key and value: the same weights once more.
    assert sum(read.values()) == 4 * (4 * hidden**2 + 2 * hidden * inner + 3 * hidden**2)


def test_products_run_at_the_sizes_that_were_asked_for():
    import tensorflow as tf

    needed = products(CONFIG, KEPT, 3, 17)
    weights = {p.weights: tf.zeros([p.inner, p.columns]) for p in needed if p.weights}
    ends = alone(needed, weights)()
    assert ends.shape == (len(needed),)
    assert all(np.isfinite(ends))
    of_weights = [number for number, product in enumerate(needed) if product.weights]
    assert not ends[of_weights].any()  # theirs are zero: each product had its own weights, and no others
    assert np.delete(ends, of_weights).all()


def _model(multiply_adds, roofline, alone, model):
    details = {"compute": 2.0, "weights": 3.0, "roofline": roofline, "products": alone, "model": model}
    return {"multiply_adds": multiply_adds, **details}


CELL = {
    **{"batch": 3, "length": 17},
    **{"dense": _model(6000, 12.0, 15.0, 20.0), "reduced": _model(2000, 6.0, 6.0, 10.0)},
}


def test_shares_of_a_speed_up_by_hand():
    (found,) = compare([CELL]).to_dict("records")
    assert found == pytest.approx(
        {"batch": 3, "length": 17, "multiply-adds": 3.0, "roofline": 2.0, "products": 2.5, "speed-up": 2.0}
        | {"of multiply-adds": 2 / 3, "of roofline": 1.0, "of products": 0.8}
    )


def test_the_report_has_both_models_and_the_ratios():
    report = {
        **{
            "shape": "minilm",
            "command": "python -m benchmarks.inference.roofline",
            "date": "2 May",
            "device": "some device",
        },
        **{"python": "3.11", "threads": 2, "packages": {"keras": "3"}, "rounds": 5, "results": [CELL]},
        **{"multiply_adds_a_second": 97e9, "bytes_a_second": 13e9},
    }
    text = to_markdown(report)
    assert "97 billion multiply-adds a second; reading memory: 13.0 GB a second" in text
    assert "| 3 | 17 | dense | 0.00 | 2.00 | 3.00 | 12.00 | 15.00 | 20.00 | 0.60 | 0.75 |" in text
    assert "| 3 | 17 | 3.00 | 2.00 | 2.50 | 2.00 | 0.67 | 1.00 | 0.80 |" in text
