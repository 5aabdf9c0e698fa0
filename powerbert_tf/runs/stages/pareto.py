"""The pareto stage: metric against speed-up, with models for each target."""

import dataclasses
import datetime
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from powerbert_tf.common.reporting import say
from powerbert_tf.data.metrics import format_metrics
from powerbert_tf.elimination.reduction import Reduction
from powerbert_tf.elimination.retention import geometric_schedule, uniform_schedule
from powerbert_tf.latency.costs import GROUPED, fit_to_budget
from powerbert_tf.latency.speed import BASELINES
from powerbert_tf.models.classifier import BertClassifier, with_retention
from powerbert_tf.models.narrow import prefix
from powerbert_tf.reports.pareto import MAX_LOSS, Baseline, Point, write_pareto
from powerbert_tf.runs.run import Run
from powerbert_tf.runs.stages.search import found_by_chief, make_calibration, meet_speedup
from powerbert_tf.training.distribution.processes import by_chief, is_chief
from powerbert_tf.training.train import retrain_model

_SCHEDULES = {"uniform": uniform_schedule, "geometric": geometric_schedule}
_SCHEDULE_END = 0.1  # before it is fitted to a budget


def pareto(run: Run, folder: Path) -> dict[str, Any]:
    """Measures a point for each target and strategy, and the dense model run in three ways; writes table and plot."""
    settings = run.settings
    dense = run.dense_model()
    main = run.task.metrics[0]
    dense_metric = run.evaluate(dense)[main]
    milliseconds = by_chief(lambda: run.speed_test.baselines(dense))
    baselines = [Baseline(name, ms, milliseconds[GROUPED] / ms, dense_metric) for name, ms in milliseconds.items()]
    points: list[Point] = []

    def add(strategy: str, target: float, model: BertClassifier) -> None:
        speedup, times = by_chief(lambda: run.speed_test.speedup(dense, model))
        metrics = run.evaluate_once(model)
        points.append(
            Point(
                strategy=strategy,
                target_speedup=target,
                configuration=model.reduction.rows,
                predicted_speedup=run.costs.speedup(model.reduction),
                speedup=speedup,
                speedup_padded=milliseconds[BASELINES["max"]] / times["reduced"],
                metric=metrics[main],
                seed=settings.training.seed,
                **model.reduction.widths,
            )
        )
        say(f"  {strategy}, {target:g}x: measured {speedup:.2f}x, {format_metrics(metrics)}")

    for strategy, target, model in _candidates(run, dense):
        add(strategy, target, model)
        if strategy == "calibrate":
            weights = folder / f"{target:g}x"
            by_chief(functools.partial(weights.mkdir, exist_ok=True))  # an interrupted run leaves checkpoints there
            student = prefix(model)  # a copy
            retrain_model(student, dense, run.training_setup(), weights, f"retrain {target:g}x")
            add("calibrate, re-trained", target, student)
    elastic = run.results.result("elastic")
    if elastic is not None:
        model = run.load_model("elastic")
        for budget in elastic["budgets"]:
            add("elastic", budget["target_speedup"], run.reduce(model, run.reduction_of(budget)))

    measured_on = f"{run.speed_test.describe()}, {datetime.date.today().isoformat()}"
    if is_chief():
        _write(folder, points, baselines, run.task.name, main, measured_on, settings.search.max_loss or MAX_LOSS)
    return {
        "metric": main,
        "metrics": {main: dense_metric},
        "points": [dataclasses.asdict(point) for point in points],
        "baselines": [dataclasses.asdict(baseline) for baseline in baselines],
        "measured_on": measured_on,
    }


def average_pareto(folder: Path, results: Sequence[dict[str, Any]], task: str, max_loss: float) -> None:
    """Writes and prints table and plot of the pareto results of several seeds, with mean and spread."""
    folder.mkdir(parents=True, exist_ok=True)
    points = [Point(**point) for result in results for point in result["points"]]
    baselines = [
        Baseline(
            name=same[0]["name"],
            **{key: float(np.mean([one[key] for one in same])) for key in ("milliseconds", "speedup", "metric")},
        )
        for same in zip(*(result["baselines"] for result in results), strict=True)
    ]
    _write(folder, points, baselines, task, results[0]["metric"], results[0]["measured_on"], max_loss)


def _write(folder: Path, *content: Any) -> None:
    write_pareto(folder, *content)
    say(f"\n{(folder / 'pareto.md').read_text(encoding='utf-8')}")


def _candidates(run: Run, dense: BertClassifier) -> Iterator[tuple[str, float, BertClassifier]]:
    """Strategy, target and model of each point, without re-training."""
    calibration = make_calibration(run, dense)
    fit = functools.partial(calibration.fit, run.costs)

    def search(target: float) -> Reduction:
        return meet_speedup(run, dense, calibration.model, calibration.search(run.costs, target), target, fit)[0]

    for target in run.pareto_targets():
        found = found_by_chief(run, functools.partial(search, target))
        model = calibration.narrowed(found, run.rebuilding_batches())
        yield "calibrate", target, model
        for static in ("head", "random"):  # the paper's static strategies, keeping as many word-vectors
            yield static, target, with_retention(model, found.rows, selection=static)
        for name, schedule in _SCHEDULES.items():
            rows = fit_to_budget(schedule(_SCHEDULE_END, run.costs.num_encoders), run.costs, run.costs.speedup(found))
            yield name, target, run.reduce(dense, Reduction(rows))
