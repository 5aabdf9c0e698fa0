"""What `powerbert_tf` exports: found lazily, with an example that runs, and on the page of the interface."""

import inspect
import re

import pytest
from conftest import REPOSITORY
from tiny_bert import random_weights, tiny_config, write_hugging_face_checkpoint

import powerbert_tf

# Runs the examples of all names, in a folder with what they read.
_EXAMPLES = """
import doctest, inspect, sys
import numpy as np
import powerbert_tf

texts = ["a b c", "d e", "f g h a b", "c d"] * 13
names = {"powerbert_tf": powerbert_tf, "np": np, "texts": texts, "labels": ["good", "bad"] * 26}
settings = {
    "max_seq_length": 23, "cost_model": "multiply_adds", "calibration_examples": 13, "latency_batch_size": 5,
    "batch_size": 13, "search_over": "rows",
}
call = powerbert_tf.accelerate, powerbert_tf.train
powerbert_tf.accelerate = lambda *given, **more: call[0](*given, **settings, classes=("dull", "fair", "fine"), **more)
powerbert_tf.train = lambda *given, **more: call[1](*given, **settings, **more)
call[0]("classifier", texts, 1.5, retrain=False, verbose=0, classes=("dull", "fair", "fine"), **settings).save("saved")
runner, parser = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS), doctest.DocTestParser()
for name in powerbert_tf.__all__:
    found = dict(zip(("accelerate", "train"), call)).get(name, getattr(powerbert_tf, name))
    runner.run(parser.get_doctest(inspect.getdoc(found), dict(names), name, None, None))
sys.exit(runner.summarize().failed)
"""


@pytest.mark.parametrize("name", powerbert_tf.__all__)
def test_a_public_name_is_documented(name):
    found = getattr(powerbert_tf, name)
    assert re.search(r"Example:\n.*>>> ", inspect.getdoc(found)), f"{name}: no example in its docstring"
    page = (REPOSITORY / "docs" / "api.md").read_text(encoding="utf-8")
    assert f"\n::: powerbert_tf.{name}\n" in page
    assert name in dir(powerbert_tf)


@pytest.mark.slow
def test_examples_in_docstrings_run(tmp_path, monkeypatch, run_python):
    config = tiny_config()
    for folder, outputs in (("classifier", 3), ("checkpoint", None)):
        write_hugging_face_checkpoint(tmp_path / folder, config, random_weights(config, outputs))
    run_python(f"import os; os.chdir({str(tmp_path)!r})\n{_EXAMPLES}", PYTHONPATH=str(REPOSITORY))


def test_names_are_imported_on_first_use(run_python):
    code = "import sys, powerbert_tf; print('keras' in sys.modules, 'tensorflow' in sys.modules)"
    assert run_python(code).stdout.split() == ["False", "False"]
