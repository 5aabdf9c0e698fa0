"""The elastic stage: one set of weights for many budgets."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from powerbert_tf.common.reporting import say
from powerbert_tf.data.metrics import format_metrics
from powerbert_tf.models.classifier import BertClassifier
from powerbert_tf.runs.run import Run
from powerbert_tf.runs.stages.search import found_by_chief, in_order, make_calibration, meet_speedup
from powerbert_tf.training.distribution.processes import by_chief
from powerbert_tf.training.elastic import DrawConfigurations, SandwichModel
from powerbert_tf.training.train import Recipe, train


def elastic(run: Run, folder: Path) -> dict[str, Any]:
    """Trains one set of weights for every budget, see `training.elastic`; then finds a reduction per target."""
    targets = run.pareto_targets()
    dense = in_order(run, run.dense_model(own=True))  # any width is then a prefix
    smallest = found_by_chief(run, lambda: make_calibration(run, dense, rebuilds=False).search(run.costs, targets[-1]))
    kind = run.task.kind.problem_type
    model = SandwichModel(dense, kind, smallest.rows, neurons=smallest.neurons, heads=smallest.heads)
    recipe = Recipe(
        title="elastic",
        rate=run.settings.training.learning_rate_retrain,
        keep_last=True,  # later epochs have seen more configurations, of which dev metrics of the full model say little
        callbacks=[DrawConfigurations(run.settings.training.seed)],
    )
    outcome = train(dense, run.training_setup(), folder, recipe, source=model)
    return {
        "metric": run.task.metrics[0],
        "metrics": outcome.metrics,
        **run.fitted(dense),
        "smallest": list(model.smallest),
        "budgets": by_chief(lambda: _budgets(run, dense, targets)),
    }


def _budgets(run: Run, dense: BertClassifier, targets: Sequence[float]) -> list[dict[str, Any]]:
    """A reduction of the elastic weights for each target."""
    calibration = make_calibration(run, dense, rebuilds=False)
    fit = functools.partial(calibration.fit, run.costs)
    budgets = []
    for target in targets:
        found = calibration.search(run.costs, target)
        reduction, measured = meet_speedup(run, dense, dense, found, target, fit)
        reduced = run.reduce(dense, reduction)
        metrics = run.evaluate_once(reduced)
        budgets.append(
            {
                "target_speedup": target,
                "predicted_speedup": run.costs.speedup(reduction),
                "measured_speedup": measured,
                "metrics": metrics,
                **run.fitted(reduced),
                **reduction.to_json(),
            }
        )
        of_measured = "" if measured is None else f", measured {measured:.2f}x"
        say(f"  {target:g}x{of_measured}: {format_metrics(metrics)}, keeps {reduction}")
    return budgets
