"""The search stage: what each encoder keeps, found by one of the methods of `SEARCHES`.

A method is a function `(run, folder) -> result`, with the entries of `Reduction.to_json` in the result.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from powerbert_tf.common.errors import NoGainError
from powerbert_tf.common.files import replacing
from powerbert_tf.common.reporting import reporting, say
from powerbert_tf.data.metrics import format_metrics
from powerbert_tf.data.tasks import OwnTask
from powerbert_tf.elimination.reduction import WIDTHS, Reduction, format_widths
from powerbert_tf.elimination.retention import configuration_from_masses, format_configuration
from powerbert_tf.latency.costs import fit_to_budget
from powerbert_tf.models.classifier import BertClassifier
from powerbert_tf.models.narrow import prefix, take_widths
from powerbert_tf.runs.folder import RunFolder
from powerbert_tf.runs.run import Run
from powerbert_tf.search.calibrate import Calibration, bisect_speedup
from powerbert_tf.search.rebuilding import RebuiltWidths, dense_moments, importance_orders
from powerbert_tf.search.soft import WIDTH, BudgetController, gate_sizes
from powerbert_tf.training.distribution.processes import by_chief, num_processes
from powerbert_tf.training.train import Recipe, retrain_model, train

_TOLERANCE = 0.03  # of the logarithm of a measured speed-up
_ATTEMPTS = 4
_LOSSES, _RETRAINED_LOSSES = 6, 4  # reductions whose loss is measured without and with brief re-training
_BRIEF_STEPS = 200
_LARGE_DIFFERENCE = 0.1  # of predicted and measured speed-up, relative; more is reported


def search(run: Run, folder: Path | None) -> dict[str, Any]:
    """Finds what each encoder keeps by `--search_method`; returns the content of `result.json`."""
    method = run.settings.search.search_method
    return {"search_method": method, **SEARCHES[method](run, folder)}


def _calibrate(run: Run, folder: Path | None) -> dict[str, Any]:
    """Needs no training, see `search.calibrate`."""
    target = run.target_speedup()
    dense = run.dense_model()
    calibration = make_calibration(run, dense)
    if target is None:
        reduction = _within_loss(run, dense, calibration)
    else:
        reduction = calibration.search(run.costs, target)
    reduction, measured = meet_speedup(
        run, dense, calibration.model, reduction, target, functools.partial(calibration.fit, run.costs)
    )
    reduced = calibration.narrowed(reduction, run.rebuilding_batches())
    if reduction.is_narrowed:
        run.results.keep("search", reduced)
    profile = calibration.profile().to_json()
    return {**describe_search(run, dense, reduced, target, measured), "profile": profile}


def _soft(run: Run, folder: Path | None) -> dict[str, Any]:
    """Learns fractions together with the weights; the budget is a constraint, see `search.soft`."""
    target = cast(float, run.target_speedup())  # settings refuse --max_loss for this method
    dense = in_order(run, run.dense_model(own=True))  # gates close in the order of importance
    gated = dense.with_slots(gate_width=WIDTH, gated=run.settings.search.dimensions)
    controller = BudgetController(run.costs, target, gate_sizes(gated))

    def log() -> dict[str, Any]:
        return {
            **controller.reduction.to_json(),
            "fractions": list(controller.fractions),
            "speedup": controller.budget.speedup,
            "multiplier": controller.budget.multiplier,
            "converged": controller.budget.converged,
        }

    recipe = Recipe(
        title="search",
        decays=False,  # the search itself finds out how long it runs
        keep_last=True,  # earlier epochs have not reached the target
        evaluated=lambda: run.reduce(dense, controller.reduction),
        callbacks=[controller],
        log=log,
    )
    setup = run.training_setup()
    result = setup.result(train(dense, setup, folder, recipe, source=gated))
    run.results.keep("search", dense, is_saved=True)
    if not controller.budget.converged:
        say(
            "  the search ran out of steps before its fractions converged; it meets the target nevertheless, but more "
            "--epochs may find a better configuration"
        )
    return {
        **result,
        **by_chief(lambda: meet_target(run, dense, controller.reduction, target)),
        "converged": controller.budget.converged,
        "steps": controller.steps,
    }


def _paper(run: Run, folder: Path | None) -> dict[str, Any]:
    """Learns masses of scaled word-vectors, regularized by lambda (paper, section 3.3)."""
    model = run.dense_model(own=True).with_slots(soft_extract=True, lambda_=run.settings.search.lambda_)

    def log() -> dict[str, Any]:
        return {
            "masses": [round(mass, 4) for mass in model.masses],
            "retention_configuration": list(configuration_from_masses(model.masses)),
        }

    recipe = Recipe(title="search", keep_last=True, log=log)  # the last, as later epochs have eliminated more
    setup = run.training_setup()
    result = setup.result(train(model, setup, folder, recipe))
    run.results.keep("search", model, is_saved=True)
    return {
        **result,
        "masses": model.masses,
        "retention_configuration": list(configuration_from_masses(model.masses)),
    }


SEARCHES: dict[str, Callable[[Run, Any], dict[str, Any]]] = {"calibrate": _calibrate, "soft": _soft, "paper": _paper}


def keep_everything(run: Run, reason: str) -> dict[str, Any]:
    """The result of a search that found no gain: nothing leaves."""
    return {
        "search_method": run.settings.search.search_method,
        "metric": run.task.metrics[0],
        "metrics": run.results.finished("finetune")["metrics"],
        "examples": len(run.split("dev")),
        "retention_configuration": [1.0] * run.checkpoint.config.num_hidden_layers,
        "no_gain": reason,
    }


def make_calibration(run: Run, model: BertClassifier, rebuilds: bool = True) -> Calibration:
    """The calibration of a run's model on some of its training examples.

    Args:
        run: Settings and data.
        model: The fine-tuned or elastic model.
        rebuilds: Whether what removed neurons and heads put out is rebuilt; not in weights that serve many widths.
    """
    search = run.settings.search
    rebuilt = None
    if any(name in search.dimensions for name in WIDTHS):
        rebuilt = RebuiltWidths(model, run.rebuilding_batches() if rebuilds else ())
    return Calibration(
        model,
        run.calibration_batches(),
        run.task.kind,
        search.selection,
        run.settings.training.seed,
        rebuilt,
        search.dimensions,
    )


def drop_searched_weights(run: Run) -> None:
    """Removes the weights that `calibrate` rebuilt, once re-training has used them: they can be made again."""
    if not _can_rebuild(run) or not run.folder.result("retrain"):
        return
    weights = run.folder.weights("search")
    if weights.exists():
        weights.unlink()
        say("  search: its weights were needed for re-training only, and are removed")


def restore_searched_weights(run: Run) -> None:
    """Makes these weights again, if they were removed."""
    if not _can_rebuild(run) or not (reduction := run.reduction()).is_narrowed:
        return
    weights = run.folder.weights("search")
    if weights.exists():
        return
    reduced = make_calibration(run, run.dense_model()).narrowed(reduction, run.rebuilding_batches())
    with replacing(weights, suffix=".weights.h5") as partial:
        reduced.save_weights(partial)


def _can_rebuild(run: Run) -> bool:
    """Whether the results are in a folder, whose size counts, and the search can be repeated without training."""
    search = run.settings.search
    return isinstance(run.results, RunFolder) and search.searches and search.search_method == "calibrate"


def in_order(run: Run, model: BertClassifier) -> BertClassifier:
    """The model with its neurons and heads in the order of their importance, if they may leave; else itself."""
    if not any(name in run.settings.search.dimensions for name in WIDTHS):
        return model
    # The chief decides, so that all processes have the same order.
    orders = by_chief(lambda: importance_orders(model, dense_moments(model, run.rebuilding_batches())))
    return take_widths(model, *orders)


def found_by_chief(run: Run, find: Callable[[], Reduction]) -> Reduction:
    """What the chief finds, which alone measures, so that all processes continue with the same."""
    return Reduction.from_json(
        by_chief(lambda: find().to_json()),
        run.checkpoint.config.num_hidden_layers,
        run.settings.inputs.max_seq_length,
    )


def meet_speedup(
    run: Run,
    dense: BertClassifier,
    ordered: BertClassifier,
    reduction: Reduction,
    target: float | None,
    fit: Callable[[Reduction, float], Reduction],
) -> tuple[Reduction, float | None]:
    """Changes a reduction until the measured speed-up, not only the predicted one, meets the target.

    Args:
        run: Settings and data.
        dense: The fine-tuned model.
        ordered: A model of its sizes, whose first neurons and heads are timed; their values do not matter here.
        reduction: Where to start.
        target: The speed-up; None to measure only, and keep the reduction.
        fit: Brings a reduction to a predicted speed-up.

    Returns:
        The reduction and its measured speed-up; None if `--cost_model=multiply_adds` asks for no measurements.
    """
    if run.settings.measuring.cost_model != "measured":
        return reduction, None
    tried: list[tuple[float, Reduction, float]] = []
    aim = target or 1.0
    while True:
        measured, _ = run.speed_test.speedup(dense, run.reduce(ordered, reduction))
        if target is None:
            return reduction, measured
        tried.append((abs(math.log(measured / target)), reduction, measured))
        if tried[-1][0] <= _TOLERANCE or len(tried) == _ATTEMPTS:
            return min(tried, key=lambda one: one[0])[1:]
        aim = min(max(aim * target / measured, 1.0), run.costs.largest_speedup)
        reduction = fit(reduction, aim)


def meet_target(
    run: Run, dense: BertClassifier, found: Reduction | Sequence[float], target: float | None
) -> dict[str, Any]:
    """The result of a search whose widths stay: its rows are scaled until the measured speed-up meets the target.

    Args:
        run: Settings and data.
        dense: The model that is reduced, as fast as the fine-tuned one.
        found: What encoders keep, or a retention configuration.
        target: The speed-up; None to measure only.
    """

    def fit(reduction: Reduction, aim: float) -> Reduction:
        rows = fit_to_budget(reduction.rows, run.costs, aim, reduction.neurons, reduction.heads)
        return dataclasses.replace(reduction, rows=rows)

    start = found if isinstance(found, Reduction) else Reduction(tuple(found))
    reduction, measured = meet_speedup(run, dense, dense, start, target, fit)
    return describe_search(run, dense, run.reduce(dense, reduction), target, measured)


def describe_search(
    run: Run, dense: BertClassifier, reduced: BertClassifier, target: float | None, measured: float | None
) -> dict[str, Any]:
    """The result of a search with a target: what encoders keep, speed-ups, and metrics before re-training."""
    metrics = run.evaluate_once(reduced)
    reduction = reduced.reduction
    predicted = run.costs.speedup(reduction)
    padded = None if measured is None else run.speed_test.speedup_over_padded(dense, reduced)
    say(f"  keeps {format_configuration(reduction.rows)} of each example's length")
    for name, widths in reduction.widths.items():
        say(f"  keeps {format_widths(widths)} {name}")
    say(f"  {format_metrics(metrics)} before re-training")
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
        **reduction.to_json(),
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


def _within_loss(run: Run, dense: BertClassifier, calibration: Calibration) -> Reduction:
    """The fastest reduction within `--max_loss` of the fine-tuned model's metric, on the rows that choose.

    Without training first. Where the finished model is meant, faster ones are then re-trained briefly: what little
    re-training recovers, all of it recovers, too.
    """
    settings, main, rows = run.settings.search, run.task.metrics[0], run.choosing
    label = rows.replace("_", "-")
    lowest = run.evaluate_once(dense, rows)[main] - settings.max_loss
    batches = run.rebuilding_batches()

    def metric_of(reduction: Reduction, retrains: bool) -> float:
        model = calibration.narrowed(reduction, batches)
        if retrains:
            model = _retrained_briefly(run, dense, prefix(model))  # a copy
        value = run.evaluate_once(model, rows)[main]
        trained = " after brief re-training" if retrains else ""
        say(f"  {run.costs.speedup(reduction):.2f}x{trained}: {label} {main} {value:.4f}, wanted {lowest:.4f}")
        return value

    def fastest(retrains: bool, smallest: float, steps: int) -> Reduction | None:
        candidate, metric = (
            functools.partial(calibration.search, run.costs),
            functools.partial(metric_of, retrains=retrains),
        )
        return bisect_speedup(candidate, metric, lowest, run.costs.largest_speedup, smallest, steps)

    found = fastest(False, 1.0, _LOSSES)
    if settings.max_loss_of == "retrained" and num_processes() == 1:
        found = fastest(True, run.costs.speedup(found) if found else 1.0, _RETRAINED_LOSSES) or found
    if found is None:
        flag = "max_disagreement" if isinstance(run.task, OwnTask) and run.task.is_unlabelled else "max_loss"
        raise NoGainError(
            f"--{flag}={settings.max_loss:g}: no gain here: every configuration that was tried loses more on the "
            f"{label} rows; allow a larger loss, or ask for a --target_speedup and let re-training recover."
        )
    return found


def _retrained_briefly(run: Run, dense: BertClassifier, model: BertClassifier) -> BertClassifier:
    """The model after an epoch over some of the training rows."""
    setup = run.training_setup()
    settings = dataclasses.replace(setup.settings, epochs_retrain=1, checkpoint_minutes=0.0, checkpoint_steps=0)
    drawn = np.random.default_rng(settings.seed).permutation(len(setup.train))[: _BRIEF_STEPS * settings.batch_size]
    with reporting(verbose=0):
        setup = dataclasses.replace(setup, train=setup.train.take(drawn), settings=settings)
        retrain_model(model, dense, setup, None, "retrain briefly")
    return model
