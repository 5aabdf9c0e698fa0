import json

import numpy as np
import pytest
from keras import ops
from tiny_bert import random_inputs, random_weights, tiny_config, write_google_checkpoint

from powerbert_tf import export, load_classifier
from powerbert_tf.export import export_saved_model, next_version

CONFIG = tiny_config()
N = 23

SERVE = """
import json, sys
sys.modules["powerbert_tf"] = sys.modules["keras"] = None  # importing them raises ImportError
import numpy as np, tensorflow as tf
signature = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
inputs = np.load(sys.argv[2])
print(json.dumps({name: values.numpy().tolist() for name, values in
                  signature(**{name: tf.constant(inputs[name]) for name in inputs}).items()}))
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    write_google_checkpoint(folder, CONFIG, random_weights(CONFIG, 7))
    return folder


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_another_process_gets_the_same_answers_at_another_batch_size(kind, checkpoint, tmp_path, run_python):
    regression = kind == "regression"
    model = load_classifier(checkpoint, 1 if regression else 7, N, retention_configuration=(13, 7, 2))
    version = export_saved_model(model, tmp_path / "saved_model", regression, random_inputs(CONFIG, 5, N))
    assert version == tmp_path / "saved_model" / "1"
    inputs = random_inputs(CONFIG, batch=11, length=N, seed=3)
    np.savez(tmp_path / "inputs.npz", **inputs)
    served = json.loads(run_python(SERVE, version, tmp_path / "inputs.npz").stdout)
    logits = model(inputs)
    if regression:
        np.testing.assert_allclose(served["scores"], ops.convert_to_numpy(logits)[:, 0], atol=1e-5)
    else:
        np.testing.assert_allclose(served["probabilities"], ops.convert_to_numpy(ops.softmax(logits)), atol=1e-5)


def test_versions_count_up_and_other_names_do_not_matter(tmp_path):
    assert next_version(tmp_path / "none") == 1
    for name in ("1", "3", "10", ".partial-x", "notes", "-4"):
        (tmp_path / name).mkdir()
    assert next_version(tmp_path) == 11


def test_an_export_that_is_cut_off_leaves_no_version(checkpoint, tmp_path, monkeypatch):
    model = load_classifier(checkpoint, 7, N)

    def cut_off(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(export.tf.saved_model, "load", cut_off)
    with pytest.raises(KeyboardInterrupt):
        export_saved_model(model, tmp_path / "saved_model", False, random_inputs(CONFIG, 5, N))
    assert list((tmp_path / "saved_model").iterdir()) == []


def test_an_export_with_other_answers_is_refused(checkpoint, tmp_path, monkeypatch):
    model = load_classifier(checkpoint, 7, N)
    load = export.tf.saved_model.load

    class Wrong:
        def __init__(self, path):
            self.signatures = {
                "serving_default": lambda **inputs: {
                    name: values + 0.01 for name, values in loaded.signatures["serving_default"](**inputs).items()
                }
            }
            loaded = load(path)

    monkeypatch.setattr(export.tf.saved_model, "load", Wrong)
    with pytest.raises(RuntimeError, match=r"the exported model's probabilities differ by 0\.0"):
        export_saved_model(model, tmp_path / "saved_model", False, random_inputs(CONFIG, 5, N))
    assert list((tmp_path / "saved_model").iterdir()) == []
