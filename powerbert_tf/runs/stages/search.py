"""The search stage: a retention configuration, found by one of the methods of `SEARCHES`.

A method is a function `(run, folder) -> result`, with the configuration in the result.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from powerbert_tf.common.errors import NoGainError
from powerbert_tf.common.reporting import say
from powerbert_tf.data.metrics import format_metrics
from powerbert_tf.elimination.retention import Configuration, configuration_from_masses, format_configuration
from powerbert_tf.latency.costs import fit_to_budget
from powerbert_tf.models.classifier import BertClassifier
from powerbert_tf.runs.run import Run
from powerbert_tf.search.calibrate import Calibration, bisect_speedup
from powerbert_tf.search.soft import WIDTH, BudgetController
from powerbert_tf.training.distribution.processes import by_chief
from powerbert_tf.training.train import Recipe, train

_TOLERANCE = 0.03  # of the logarithm of a measured speed-up
_ATTEMPTS = 4
_LARGE_DIFFERENCE = 0.1  # of predicted and measured speed-up, relative; more is reported


def search(run: Run, folder: Path) -> dict[str, Any]:
    """Finds a retention configuration by `--search_method`; returns the content of `result.json`."""
    method = run.settings.search.search_method
    return {"search_method": method, **SEARCHES[method](run, folder)}


def _calibrate(run: Run, folder: Path) -> dict[str, Any]:
    """Needs no training, see `search.calibrate`."""
    target = run.target_speedup()
    dense = run.dense_model()
    calibration = make_calibration(run, dense)
    if target is None:
        configuration = _within_loss(run, dense, calibration)
    else:
        configuration = calibration.search(run.costs, target)
    profile = calibration.profile()
    return {
        **meet_target(run, dense, configuration, target),
        "profile": {"fractions": profile.fractions.tolist(), "damages": profile.damages.tolist()},
    }


def _soft(run: Run, folder: Path) -> dict[str, Any]:
    """Learns fractions together with the weights; the budget is a constraint, see `search.soft`."""
    target = cast(float, run.target_speedup())  # settings refuse --max_loss for this method
    dense = run.dense_model()
    gated = dense.with_slots(gate_width=WIDTH)
    controller = BudgetController(run.costs, target)

    def log() -> dict[str, Any]:
        return {
            "retention_configuration": list(controller.configuration),
            "fractions": list(controller.fractions),
            "speedup": controller.budget.speedup,
            "multiplier": controller.budget.multiplier,
            "converged": controller.budget.converged,
        }

    recipe = Recipe(
        title="search",
        decays=False,  # the search itself finds out how long it runs
        keep_last=True,  # earlier epochs have not reached the target
        evaluated=lambda: run.reduce(dense, controller.configuration),
        callbacks=[controller],
        log=log,
    )
    setup = run.training_setup()
    result = setup.result(train(dense, setup, folder, recipe, source=gated))
    if not controller.budget.converged:
        say(
            "  the search ran out of steps before its fractions converged; it meets the target nevertheless, but more "
            "--epochs may find a better configuration"
        )
    return {
        **result,
        **by_chief(lambda: meet_target(run, dense, controller.configuration, target)),
        "converged": controller.budget.converged,
        "steps": controller.steps,
    }


def _paper(run: Run, folder: Path) -> dict[str, Any]:
    """Learns masses of scaled word-vectors, regularized by lambda (paper, section 3.3)."""
    model = run.dense_model().with_slots(soft_extract=True, lambda_=run.settings.search.lambda_)

    def log() -> dict[str, Any]:
        return {
            "masses": [round(mass, 4) for mass in model.masses],
            "retention_configuration": list(configuration_from_masses(model.masses)),
        }

    recipe = Recipe(title="search", keep_last=True, log=log)  # the last, as later epochs have eliminated more
    setup = run.training_setup()
    return {
        **setup.result(train(model, setup, folder, recipe)),
        "masses": model.masses,
        "retention_configuration": list(configuration_from_masses(model.masses)),
    }


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
    run: Run, dense: BertClassifier, configuration: Configuration, target: float | None
) -> tuple[Configuration, float | None]:
    """Scales a configuration until the measured speed-up, not only the predicted one, meets the target.

    Args:
        run: Settings and data.
        dense: The fine-tuned model.
        configuration: Where to start.
        target: The speed-up; None to measure only, and keep the configuration.

    Returns:
        The configuration and its measured speed-up; None if `--cost_model=multiply_adds` asks for no measurements.
    """
    if run.settings.measuring.cost_model != "measured":
        return configuration, None
    tried = []
    aim = target or 1.0
    while True:
        measured, _ = run.speed_test.speedup(dense, run.reduce(dense, configuration))
        if target is None:
            return configuration, measured
        tried.append((abs(math.log(measured / target)), configuration, measured))
        if tried[-1][0] <= _TOLERANCE or len(tried) == _ATTEMPTS:
            return min(tried)[1:]
        aim = min(max(aim * target / measured, 1.0), run.costs.largest_speedup)
        configuration = fit_to_budget(configuration, run.costs, aim)


def meet_target(run: Run, dense: BertClassifier, configuration: Configuration, target: float | None) -> dict[str, Any]:
    """The result of a search with a target: its configuration, speed-ups, and metrics before re-training."""
    configuration, measured = meet_speedup(run, dense, configuration, target)
    reduced = run.reduce(dense, configuration)
    metrics = run.evaluate_once(reduced)
    predicted = run.costs.speedup(configuration)
    padded = None if measured is None else run.speed_test.speedup_over_padded(dense, reduced)
    of_measured = "" if measured is None else f", measured {measured:.2f}x, {padded:.2f}x against padded to N"
    say(f"  keeps {format_configuration(configuration)} of each example's length")
    say(f"  predicted {predicted:.2f}x{of_measured}; {format_metrics(metrics)} before re-training")
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
    """A remark if a predicted speed-up differs from the measured one by more than 10 %; else empty."""
    if abs(math.log(predicted / measured)) <= math.log1p(_LARGE_DIFFERENCE):
        return ""
    difference = 100 * abs(predicted / measured - 1)
    return (
        f"predicted and measured differ by {difference:.0f} %, perhaps because something else is running; the measured "
        "one counts"
    )


def _within_loss(run: Run, dense: BertClassifier, calibration: Calibration) -> Configuration:
    """The fastest configuration within `--max_loss` of the fine-tuned model's dev metric."""
    max_loss, main = run.settings.search.max_loss, run.task.metrics[0]
    lowest = run.evaluate_once(dense)[main] - max_loss

    def metric_of(configuration: Configuration) -> float:
        value = run.evaluate_once(run.reduce(dense, configuration))[main]
        say(f"  {run.costs.speedup(configuration):.2f}x: dev {main} {value:.4f}, wanted {lowest:.4f}")
        return value

    found = bisect_speedup(
        lambda target: calibration.search(run.costs, target), metric_of, lowest, run.costs.largest_speedup
    )
    if found is None:
        raise NoGainError(
            f"--max_loss={max_loss:g}: no gain here: every configuration that was tried loses more on dev before "
            "re-training; allow a larger loss, or ask for a --target_speedup and let re-training recover."
        )
    return found
