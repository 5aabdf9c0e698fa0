"""The elastic stage: one set of weights for many budgets."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from powerbert_tf.common.reporting import say
from powerbert_tf.data.metrics import format_metrics
from powerbert_tf.elimination.retention import format_configuration
from powerbert_tf.models.classifier import BertClassifier
from powerbert_tf.runs.run import Run
from powerbert_tf.runs.stages.search import make_calibration, meet_speedup
from powerbert_tf.training.distribution.processes import by_chief
from powerbert_tf.training.elastic import DrawConfigurations, SandwichModel
from powerbert_tf.training.train import Recipe, train


def elastic(run: Run, folder: Path) -> dict[str, Any]:
    """Trains one set of weights for every budget, see `training.elastic`; then finds a configuration per target."""
    targets = run.pareto_targets()
    dense = run.dense_model()
    costs = run.costs
    smallest = tuple(by_chief(lambda: make_calibration(run, dense).search(costs, targets[-1])))
    model = SandwichModel(dense, run.task.is_regression, smallest)
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
        "smallest": list(model.smallest),
        "budgets": by_chief(lambda: _budgets(run, dense, targets)),
    }


def _budgets(run: Run, dense: BertClassifier, targets: Sequence[float]) -> list[dict[str, Any]]:
    """A configuration of the elastic weights for each target."""
    calibration = make_calibration(run, dense)
    budgets = []
    for target in targets:
        configuration, measured = meet_speedup(run, dense, calibration.search(run.costs, target), target)
        metrics = run.evaluate_once(run.reduce(dense, configuration))
        budgets.append(
            {
                "target_speedup": target,
                "predicted_speedup": run.costs.speedup(configuration),
                "measured_speedup": measured,
                "metrics": metrics,
                "retention_configuration": list(configuration),
            }
        )
        of_measured = "" if measured is None else f", measured {measured:.2f}x"
        say(f"  {target:g}x{of_measured}: {format_metrics(metrics)}, keeps {format_configuration(configuration)}")
    return budgets
