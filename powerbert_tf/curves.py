"""The stages that trace metric against speed-up: one set of weights for many budgets, and a model for each target."""

import dataclasses
import datetime
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from powerbert_tf.calibration import Calibration
from powerbert_tf.cost import fit_to_budget
from powerbert_tf.elastic import sandwich
from powerbert_tf.metrics import format_metrics
from powerbert_tf.modeling import BertClassifier, with_retention
from powerbert_tf.pareto import GROUPED, Baseline, Point
from powerbert_tf.pareto_files import write_pareto
from powerbert_tf.processes import by_chief, is_chief
from powerbert_tf.retention import Configuration, format_configuration, geometric_schedule, uniform_schedule
from powerbert_tf.retraining import retrain
from powerbert_tf.run import Run
from powerbert_tf.search_methods import make_calibration, meet_speedup
from powerbert_tf.speed import BASELINES, describe_measurement, measure_baselines, measure_speedup
from powerbert_tf.training import Recipe, evaluate_model, task_loss, train

MAX_LOSS = 0.01  # points of the metric, where no --max_loss is given
_SCHEDULES = {"uniform": uniform_schedule, "geometric": geometric_schedule}
_SCHEDULE_END = 0.1  # before it is fitted to a budget


def train_elastic(run: Run, folder: Path) -> dict[str, Any]:
    """One set of weights for every budget, see `powerbert_tf.elastic`; then a configuration for each target."""
    targets = run.pareto_targets()
    dense = run.dense_model()
    costs = run.costs
    smallest = tuple(by_chief(lambda: make_calibration(run, dense).search(costs, targets[-1])))
    model, callbacks = sandwich(dense, run.task.is_regression, smallest, seed=run.settings.seed)
    recipe = Recipe(
        title="elastic",
        rate=run.settings.learning_rate_retrain,
        epochs=run.settings.epochs,
        loss=task_loss(run.task),
        keep_last=True,  # later epochs have seen more configurations; dev scores of the full model say little of them
        callbacks=callbacks,
    )
    outcome = train(dense, run.task, run.split("train"), run.split("dev"), run.settings, folder, recipe, trainer=model)
    return {
        "metric": run.task.metrics[0],
        "metrics": outcome.metrics,
        "smallest": list(model.smallest),
        "budgets": by_chief(lambda: _budgets(run, dense, targets)),
    }


def _budgets(run: Run, dense: BertClassifier, targets: Sequence[float]) -> list[dict[str, Any]]:
    """A configuration of the elastic weights for each target."""
    calibration = make_calibration(run, dense)
    budgets = []
    for target in targets:
        configuration, measured = meet_speedup(run, dense, calibration.search(run.costs, target), target)
        metrics = _evaluate(run, dense, configuration)
        budgets.append(
            {
                "target_speedup": target,
                "predicted_speedup": run.costs.speedup(configuration),
                "measured_speedup": measured,
                "metrics": metrics,
                "retention_configuration": list(configuration),
            }
        )
        seen = "" if measured is None else f", measured {measured:.2f}x"
        print(
            f"  {target:g}x{seen}: {format_metrics(metrics)}, keeps {format_configuration(configuration)}", flush=True
        )
    return budgets


def trace_pareto(run: Run, folder: Path) -> dict[str, Any]:
    """A point for each target and strategy, beside the dense model run in three ways; table and plot."""
    dev, settings = run.split("dev"), run.settings
    dense = run.dense_model()
    main = run.task.metrics[0]
    dense_metric = evaluate_model(dense, run.task, dev, settings)[main]
    milliseconds = by_chief(lambda: measure_baselines(dense, dev, settings))
    baselines = [Baseline(name, ms, milliseconds[GROUPED] / ms, dense_metric) for name, ms in milliseconds.items()]
    points: list[Point] = []

    def add(strategy: str, target: float, model: BertClassifier) -> None:
        speedup, times = by_chief(lambda: measure_speedup(dense, model, dev, settings))
        metrics = evaluate_model(model, run.task, dev, settings.in_plain_graph())
        points.append(
            Point(
                strategy=strategy,
                target_speedup=target,
                configuration=model.retention_configuration,
                predicted_speedup=run.costs.speedup(model.retention_configuration),
                speedup=speedup,
                speedup_padded=milliseconds[BASELINES["max"]] / times["reduced"],
                metric=metrics[main],
                seed=settings.seed,
            )
        )
        print(f"  {strategy}, {target:g}x: measured {speedup:.2f}x, {format_metrics(metrics)}", flush=True)

    for strategy, target, configuration, selection in _candidates(run, dense):
        add(strategy, target, with_retention(dense, configuration, selection=selection))
        if strategy == "calibrate":
            student = with_retention(run.dense_model(), configuration, selection=selection)
            weights = folder / f"{target:g}x"
            by_chief(functools.partial(weights.mkdir, exist_ok=True))  # with checkpoints of an interrupted run
            retrain(run, student, dense, weights, f"retrain {target:g}x")
            add("calibrate, re-trained", target, student)
    elastic = run.folder.result("elastic")
    if elastic is not None:
        model = run.load_model("elastic")
        for budget in elastic["budgets"]:
            add("elastic", budget["target_speedup"], with_retention(model, budget["retention_configuration"]))

    measured_on = f"{describe_measurement(settings)}, {datetime.date.today().isoformat()}"
    if is_chief():
        write_pareto(folder, points, baselines, run.task.name, main, measured_on, settings.max_loss or MAX_LOSS)
        print(f"\n{(folder / 'pareto.md').read_text(encoding='utf-8')}", flush=True)
    return {
        "metric": main,
        "metrics": {main: dense_metric},
        "points": [dataclasses.asdict(point) for point in points],
        "baselines": [dataclasses.asdict(baseline) for baseline in baselines],
        "measured_on": measured_on,
    }


def average_pareto(folder: Path, results: Sequence[dict[str, Any]], task: str, max_loss: float) -> None:
    """Table and plot of the pareto results of several seeds, with mean and spread.

    Args:
        folder: To write into; made where it is not there.
        results: `result.json` of each seed's pareto stage.
        task: Its name.
        max_loss: Points of the metric that may be lost.
    """
    folder.mkdir(parents=True, exist_ok=True)
    points = [Point(**point) for result in results for point in result["points"]]
    baselines = [
        Baseline(
            name=same[0]["name"],
            **{key: float(np.mean([one[key] for one in same])) for key in ("milliseconds", "speedup", "metric")},
        )
        for same in zip(*(result["baselines"] for result in results), strict=True)
    ]
    write_pareto(folder, points, baselines, task, results[0]["metric"], results[0]["measured_on"], max_loss)


def _candidates(run: Run, dense: BertClassifier) -> Iterator[tuple[str, float, Configuration, str]]:
    """Strategy, target, configuration and selection of each point, without re-training."""
    calibration = make_calibration(run, dense)
    selection = run.settings.selection
    for target in run.pareto_targets():
        found = _found(run, dense, calibration, target)
        yield "calibrate", target, found, selection
        for static in ("head", "random"):  # the paper's static strategies, with the same numbers of word-vectors
            yield static, target, found, static
        for name, schedule in _SCHEDULES.items():
            start = schedule(_SCHEDULE_END, run.costs.num_encoders)
            yield name, target, fit_to_budget(start, run.costs, run.costs.speedup(found)), selection


def _found(run: Run, dense: BertClassifier, calibration: Calibration, target: float) -> Configuration:
    """What calibration finds for a target, measured by the chief."""
    costs = run.costs

    def find() -> Configuration:
        return meet_speedup(run, dense, calibration.search(costs, target), target)[0]

    return tuple(by_chief(find))


def _evaluate(run: Run, dense: BertClassifier, configuration: Configuration) -> dict[str, float]:
    reduced = with_retention(dense, configuration, selection=run.settings.selection)
    return evaluate_model(reduced, run.task, run.split("dev"), run.settings.in_plain_graph())
