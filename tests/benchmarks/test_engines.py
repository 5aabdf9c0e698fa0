"""The arithmetic of the benchmarks, and that their engines agree; nothing is timed here."""

import numpy as np
import pytest
from tiny_bert import tiny_config

from benchmarks.common.engine import Engine, Job, check_agreement, engines_of, random_batch
from benchmarks.common.grid import start
from benchmarks.common.models import RETENTION, SHAPES, with_fewer_multiply_adds, write_random_checkpoint
from benchmarks.inference.__main__ import compare, plot, to_markdown
from benchmarks.training import __main__ as training
from benchmarks.training.engines import check_training
from powerbert_tf import load_classifier
from powerbert_tf.elimination.operations import multiply_adds
from powerbert_tf.elimination.retention import validate_configuration
from powerbert_tf.models.classifier import INPUTS
from powerbert_tf.models.config import BertConfig

CONFIG = BertConfig(**tiny_config())


def row(engine, milliseconds, batch=3, length=17):
    return {
        **{"engine": engine, "batch": batch, "length": length, "first_ms": 97.0, "calls": 5, "peak_mib": 7.0},
        **{"p50_ms": milliseconds, "p90_ms": 1.1 * milliseconds, "p99_ms": 1.3 * milliseconds},
    }


REPORT = {
    **{"command": "python -m benchmarks.inference", "date": "2 May", "python": "3.11"},
    **{"packages": {"keras": "3"}, "threads": 2, "shape": "minilm", "precision": "float32"},
    **{"device": "some device", "skipped": {"OpenVINO": "openvino not installed"}},
    "matrix_product_peak": 1e6,  # multiply-adds a second
    "multiply_adds": [{"length": 17, "dense": 6000, "reduced": 2000}],
    "results": [
        row("ours, dense", 20.0),
        row("ours, dense, XLA", 16.0),
        row("ours, reduced", 8.0),
        row("KerasHub", 30.0),
        row("ONNX Runtime", 24.0),
    ],
}


def test_ratios_by_hand():
    (found,) = compare(REPORT).to_dict("records")
    assert found.pop("fastest peer") == "ONNX Runtime"
    expected = {
        "batch": 3,
        "length": 17,
        "dense / peer": 24 / 20,
        "plain / XLA": 16 / 20,
        "speed-up": 20 / 8,
        "multiply-adds": 3.0,
        "realised": 20 / 8 / 3,
        "reduced / peer": 24 / 8,
        "share of peak": 3 * 6000 / 0.020 / 1e6,
    }
    assert found == pytest.approx(expected)


def test_the_report_names_what_was_measured_and_what_was_not(tmp_path):
    text = to_markdown(REPORT)
    assert "Left out: OpenVINO (openvino not installed)." in text
    assert "geometric mean 1.20, least 1.20 at batch 3 x 17 (ONNX Runtime)" in text
    assert "| 3 | 17 | 20.00 | 16.00 | 8.00 | 30.00 | 24.00 |" in text
    plot(REPORT).savefig(tmp_path / "inference.png")
    assert (tmp_path / "inference.png").stat().st_size > 1000


def test_a_missing_module_is_named():
    assert Engine(("json", "no_such_module"), lambda job: None).missing == ["no_such_module"]


def test_engines_that_disagree_are_refused():
    answers = {"ours, dense": {"answer": [[0.5, 1.0]]}, "KerasHub": {"answer": [[0.5, 1.01]]}}
    with pytest.raises(RuntimeError, match=r"batch 3 x 17: KerasHub and ours, dense differ by 1\.0e-02"):
        check_agreement("inference", 3, 17, answers, 2e-3)
    check_agreement("inference", 3, 17, answers, 2e-2)
    # A reduced model gives other logits.
    others = {"ours, dense": {"answer": [[0.5]]}, "ours, reduced": {"answer": [[0.7]]}}
    check_agreement("inference", 3, 17, others, 2e-3)


def test_an_engine_that_trains_nothing_is_refused():
    def losses(after):
        return {
            "ours, fine-tuning": {"answer": [0.7], "answer_after": [0.6]},
            "KerasHub": {"answer": [0.701], "answer_after": [after]},
        }

    check_training(3, 17, losses(0.65), 2e-3)
    with pytest.raises(RuntimeError, match=r"batch 3 x 17: KerasHub trains nothing, its loss goes 0\.701 -> 0\.701"):
        check_training(3, 17, losses(0.701), 2e-3)


def test_ratios_of_training_by_hand():
    rows = {
        **{"ours, fine-tuning": 40.0, "ours, search (paper)": 42.0, "ours, search (soft)": 44.0},
        **{"ours, re-training": 18.0, "KerasHub": 60.0, "Hugging Face, PyTorch": 50.0},
    }
    report = {**REPORT, "results": [row(name, milliseconds) for name, milliseconds in rows.items()]}
    (found,) = training.compare(report).to_dict("records")
    assert found.pop("fastest peer") == "Hugging Face, PyTorch"
    assert found == pytest.approx(
        {
            **{"batch": 3, "length": 17, "peer / ours": 50 / 40, "multiply-adds": 3.0},
            **{"search (paper)": 42 / 40, "search (soft)": 44 / 40, "re-training": 18 / 40},
        }
    )


def test_the_report_of_training_has_times_and_ratios():
    report = {**REPORT, "retention": [0.5, 0.25], "results": [row("ours, fine-tuning", 40.0), row("KerasHub", 60.0)]}
    text = training.to_markdown(report)
    assert "| 3 | 17 | 40.00 | 60.00 |" in text
    assert "| 3 | 17 | KerasHub | 1.50 | 3.00 |" in text
    assert "keeps 0.5, 0.25 of each input" in text


@pytest.mark.parametrize("shape", SHAPES)
def test_each_shape_has_a_configuration_to_reduce_it(shape):
    size = SHAPES[shape].encoder_size
    assert validate_configuration(RETENTION[shape], size.num_encoders, 512) == RETENTION[shape]
    # The mean over lengths of the multiply-adds; one fraction more or less of 128 rows is far below 3 %.
    fewer = with_fewer_multiply_adds(RETENTION[shape], size, [64, 128], 3.0)
    dense = sum(multiply_adds(size, length) for length in (64, 128))
    reduced = sum(multiply_adds(size, length, fewer) for length in (64, 128))
    assert dense / reduced == pytest.approx(3.0, rel=0.03)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    write_random_checkpoint(folder, CONFIG, num_classes=7)
    (folder / "vocab.txt").write_text("\n".join(map(str, range(CONFIG.vocab_size))), encoding="utf-8")
    return folder


def ask(grid, engine, folder, tmp_path, **kwargs):
    """What an engine answers on 3 x 19, in a process of its own."""
    if engines_of(grid)[engine].missing:
        pytest.skip(f"{', '.join(engines_of(grid)[engine].missing)} not installed")
    job = Job(str(folder), 7, 23, 1, (0.8, 0.45, 0.45), **kwargs)
    with (tmp_path / "log").open("w+", encoding="utf-8") as log, start(grid, engine, job, log) as worker:
        try:
            ready = worker.answer()
            if not ready.get("ready"):
                return ready
            return worker.ask(batch=3, length=19, calls=2, seconds=0)
        except RuntimeError as error:
            log.seek(0)
            raise AssertionError(log.read()) from error


# With XLA the same code is compiled in another way, which takes long: one stands for the others.
@pytest.mark.slow
@pytest.mark.parametrize(
    "engine", [name for name in engines_of("inference") if "XLA" not in name or name == "ours, reduced, XLA"]
)
def test_an_engine_gives_the_logits_of_the_checkpoint(engine, checkpoint, tmp_path):
    answer = ask("inference", engine, checkpoint, tmp_path)
    assert len(answer["ms"]) == 2
    assert min(answer["ms"]) > 0
    retention = (0.8, 0.45, 0.45) if engines_of("inference")[engine].reduced else None
    model = load_classifier(checkpoint, 7, 23, retention_configuration=retention)
    batch = random_batch(CONFIG.vocab_size, 3, 19, 7)
    expected = model({name: batch[name] for name in INPUTS})
    np.testing.assert_allclose(answer["answer"], expected, atol=1e-5)
    np.testing.assert_allclose(answer["answer_after"], expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("engine", [name for name in engines_of("training") if "XLA" not in name])
def test_an_engine_starts_from_the_loss_of_the_checkpoint_and_lowers_it(engine, checkpoint, tmp_path):
    answer = ask("training", engine, checkpoint, tmp_path)
    batch = random_batch(CONFIG.vocab_size, 3, 19, 7)
    reduced = engines_of("training")[engine].reduced
    model = load_classifier(checkpoint, 7, 23, retention_configuration=(0.8, 0.45, 0.45) if reduced else None)
    logits = np.asarray(model({name: batch[name] for name in INPUTS}))
    if reduced:
        expected = np.mean((logits - batch["teacher"]) ** 2)
    else:
        shares = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
        expected = -np.mean(np.log(shares[np.arange(3), batch["labels"]]))
    assert answer["answer"] == pytest.approx([expected], abs=1e-5)
    assert answer["answer_after"] < answer["answer"]


@pytest.mark.slow
def test_where_there_is_no_accelerator_an_engine_says_so(checkpoint, tmp_path):
    found = ask("inference", "ours, dense", checkpoint, tmp_path, device="gpu")
    if "unavailable" not in found:
        pytest.skip("there is an accelerator")
    assert found == {"unavailable": "tensorflow sees no accelerator"}


@pytest.mark.slow
def test_on_jax_our_engine_gives_the_same_logits_and_another_is_skipped(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    answer = ask("inference", "ours, dense", checkpoint, tmp_path)
    batch = random_batch(CONFIG.vocab_size, 3, 19, 7)
    expected = load_classifier(checkpoint, 7, 23)({name: batch[name] for name in INPUTS})
    np.testing.assert_allclose(answer["answer"], expected, atol=1e-5)
    skipped = ask("inference", "ours, dense, XLA", checkpoint, tmp_path)
    assert skipped == {"unavailable": "only on tensorflow, KERAS_BACKEND is jax"}
