"""The search stage's methods behind one interface: `(run, folder) -> result`, with the configuration in the result."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from powerbert_tf.common.errors import NoGainError
from powerbert_tf.common.reporting import say
from powerbert_tf.data.metrics import format_metrics
from powerbert_tf.elimination.retention import configuration_from_masses, format_configuration
from powerbert_tf.latency.costs import fit_to_budget
from powerbert_tf.latency.speed import measure_speedup, measure_speedup_over_padded
from powerbert_tf.models.classifier import BertClassifier, with_retention
from powerbert_tf.runs.run import Run
from powerbert_tf.search.calibrate import Calibration, bisect_speedup
from powerbert_tf.search.soft import WIDTH, BudgetController
from powerbert_tf.training.distribution.processes import by_chief
from powerbert_tf.training.evaluation import evaluate_model
from powerbert_tf.training.train import Recipe, train

_TOLERANCE = 0.03  # of the logarithm of a measured speed-up
_ATTEMPTS = 4
_ROUGH = 0.1  # of a prediction, which is then remarked upon


def _calibrate(run: Run, folder: Path) -> dict[str, Any]:
    """No training: see `powerbert_tf.search.calibrate`."""
    target = run.target_speedup()
    dense = run.dense_model()
    calibration = make_calibration(run, dense)
    if target is None:
        configuration = _within_loss(run, dense, calibration)
    else:
        configuration = calibration.search(run.costs, target)
    profile = calibration.profile()
    return {
        **_meet_target(run, dense, configuration, target),
        "profile": {"fractions": profile.fractions.tolist(), "damages": profile.damages.tolist()},
    }


def _soft(run: Run, folder: Path) -> dict[str, Any]:
    """Fractions learned with the weights, the budget a constraint: see `powerbert_tf.search.soft`."""
    target = cast(float, run.target_speedup())  # settings refuse --max_loss for this method
    dense = run.dense_model()
    gated = dense.with_slots(gate_width=WIDTH)
    controller = BudgetController(run.costs, target)

    def log() -> dict[str, Any]:
        return {
            "retention_configuration": list(controller.configuration),
            "fractions": list(controller.fractions),
            "speedup": controller.speedup,
            "multiplier": controller.multiplier,
            "converged": controller.converged,
        }

    recipe = Recipe(
        title="search",
        decays=False,  # how long it runs, it finds out
        keep_last=True,  # earlier epochs had not got to the target
        evaluated=lambda: with_retention(dense, controller.configuration, selection=run.settings.search.selection),
        callbacks=[controller],
        log=log,
    )
    outcome = train(dense, run.training_setup(), folder, recipe, trainer=gated)
    if not controller.converged:
        say(
            "  the search ran out of steps before its fractions came to rest; the target is met all the same, more "
            "--epochs may spend it better"
        )
    found = by_chief(lambda: _meet_target(run, dense, controller.configuration, target))
    return {
        **found,
        "epoch": outcome.epoch,
        "converged": controller.converged,
        "steps": controller.steps,
        "train_examples": len(run.split("train")),
    }


def _paper(run: Run, folder: Path) -> dict[str, Any]:
    """Masses of scaled word-vectors, pushed by lambda (paper, section 3.3)."""
    model = run.dense_model().with_slots(soft_extract=True, lambda_=run.settings.search.lambda_)

    def log() -> dict[str, Any]:
        return {
            "masses": [round(mass, 4) for mass in model.masses],
            "retention_configuration": list(configuration_from_masses(model.masses)),
        }

    # Later epochs have eliminated more.
    recipe = Recipe(title="search", keep_last=True, log=log)
    setup = run.training_setup()
    return {
        **setup.result(train(model, setup, folder, recipe)),
        "masses": model.masses,
        "retention_configuration": list(configuration_from_masses(model.masses)),
    }


def search(run: Run, folder: Path) -> dict[str, Any]:
    """Finds a retention configuration by `--search_method`; returns what `result.json` says."""
    method = run.settings.search.search_method
    return {"search_method": method, **SEARCHES[method](run, folder)}


SEARCHES: dict[str, Callable[[Run, Path], dict[str, Any]]] = {"calibrate": _calibrate, "soft": _soft, "paper": _paper}


def make_calibration(run: Run, model: BertClassifier) -> Calibration:
    """The calibration of a run's model on some of its training examples."""
    return Calibration(
        model,
        run.calibration_batches(),
        run.task.is_regression,
        run.settings.search.selection,
        run.settings.training.seed,
    )


def meet_speedup(
    run: Run, dense: BertClassifier, configuration: tuple[float, ...], target: float | None
) -> tuple[tuple[float, ...], float | None]:
    """Scales a configuration until the speed-up that is measured, and not only the predicted one, is the target.

    Args:
        run: Settings and data.
        dense: The fine-tuned model.
        configuration: Where to start.
        target: The speed-up; None leaves the configuration as it is, and only measures.

    Returns:
        The configuration and its measured speed-up; None where `--cost_model=multiply_adds` asks for no measurements.
    """
    if run.settings.measuring.cost_model != "measured":
        return configuration, None
    tried = []
    aim = target or 1.0
    while True:
        reduced = with_retention(dense, configuration, selection=run.settings.search.selection)
        measured, _ = measure_speedup(
            dense, reduced, run.split("dev"), run.settings.measuring.latency_batch_size, run.settings.inference
        )
        if target is None:
            return configuration, measured
        tried.append((abs(math.log(measured / target)), configuration, measured))
        if tried[-1][0] <= _TOLERANCE or len(tried) == _ATTEMPTS:
            return min(tried)[1:]
        aim = min(max(aim * target / measured, 1.0), run.costs.largest_speedup)
        configuration = fit_to_budget(configuration, run.costs, aim)


def _meet_target(
    run: Run, dense: BertClassifier, configuration: tuple[float, ...], target: float | None
) -> dict[str, Any]:
    """The result of a search that has a target: what was found, and what it comes to before re-training."""
    configuration, measured = meet_speedup(run, dense, configuration, target)
    reduced = with_retention(dense, configuration, selection=run.settings.search.selection)
    metrics = evaluate_model(reduced, run.task, run.split("dev"), run.settings.inference.in_plain_graph())
    predicted = run.costs.speedup(configuration)
    padded = None
    if measured is not None:
        padded = measure_speedup_over_padded(
            dense, reduced, run.split("dev"), run.settings.measuring.latency_batch_size, run.settings.inference
        )
    seen = "" if measured is None else f", measured {measured:.2f}x, {padded:.2f}x against padded to N"
    say(f"  keeps {format_configuration(configuration)} of each example's length")
    say(f"  predicted {predicted:.2f}x{seen}; {format_metrics(metrics)} before re-training")
    if measured is not None and (remark := remark_on_prediction(predicted, measured)):
        say(f"  {remark}")
    return {
        "metric": run.task.metrics[0],
        "metrics": metrics,
        "examples": len(run.split("dev")),
        "target_speedup": target,
        "predicted_speedup": predicted,
        "measured_speedup": measured,
        "measured_speedup_over_padded": padded,
        "latency_batch_size": run.settings.measuring.latency_batch_size,
        "retention_configuration": list(configuration),
    }


def remark_on_prediction(predicted: float, measured: float) -> str:
    """What to say of a predicted speed-up that is not the measured one; empty where they are within 10 %."""
    if abs(math.log(predicted / measured)) <= math.log1p(_ROUGH):
        return ""
    difference = 100 * abs(predicted / measured - 1)
    return (
        f"predicted and measured differ by {difference:.0f} %, perhaps because something else is running; the measured "
        "one counts"
    )


def _within_loss(run: Run, dense: BertClassifier, calibration: Calibration) -> tuple[float, ...]:
    """The fastest configuration within `--max_loss` of the fine-tuned model's dev metric."""
    # Each configuration is evaluated once: compiling it would take longer than running it.
    dev, settings = run.split("dev"), run.settings.search
    inference = run.settings.inference.in_plain_graph()
    main = run.task.metrics[0]
    lowest = evaluate_model(dense, run.task, dev, inference)[main] - settings.max_loss

    def metric_of(configuration: tuple[float, ...]) -> float:
        reduced = with_retention(dense, configuration, selection=settings.selection)
        value = evaluate_model(reduced, run.task, dev, inference)[main]
        say(f"  {run.costs.speedup(configuration):.2f}x: dev {main} {value:.4f}, wanted {lowest:.4f}")
        return value

    found = bisect_speedup(
        lambda target: calibration.search(run.costs, target), metric_of, lowest, run.costs.largest_speedup
    )
    if found is None:
        raise NoGainError(
            f"--max_loss={settings.max_loss:g}: no gain here: every configuration that was tried loses more on dev "
            "before re-training; allow a larger loss, or ask for a --target_speedup and let re-training recover."
        )
    return found
