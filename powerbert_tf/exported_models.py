"""Which models of a run are exported."""

from typing import Any, cast

from powerbert_tf.modeling import BertClassifier, with_retention
from powerbert_tf.run import Run


def exported_models(run: Run) -> dict[float, BertClassifier]:
    """By the speed-up that they were reduced to, over one set of weights; 0 for the one model, or the full one.

    The re-trained model, or the elastic weights with a model for each budget.
    """
    if run.settings.export_model == "retrain":
        return {0.0: run.reduced_model()}
    full = run.load_model("elastic")
    budgets = cast(dict[str, Any], run.folder.result("elastic"))["budgets"]
    reduced = {budget["target_speedup"]: with_retention(full, budget["retention_configuration"]) for budget in budgets}
    return {0.0: full, **reduced}
