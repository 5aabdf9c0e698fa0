"""The paper's experiments on fine-tuned runs; each returns JSON values."""

import dataclasses
import json
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.runs import read_run
from benchmarks.paper.model_analysis import (
    Inputs,
    cosine_similarities,
    first_encoders,
    logits_without,
    mutual_information,
)
from powerbert_tf.batches.encoded_split import EncodedSplit
from powerbert_tf.batches.padded_batches import prediction_batches
from powerbert_tf.data.metrics import compute_metrics
from powerbert_tf.elimination.operations import multiply_adds, summarize_cost
from powerbert_tf.elimination.retention import geometric_schedule, parse_configuration
from powerbert_tf.latency.costs import Costs, count_costs, fit_to_budget
from powerbert_tf.models.classifier import BertClassifier, with_retention
from powerbert_tf.runs.run import Run
from powerbert_tf.training.evaluation import predict_logits
from powerbert_tf.training.train import TrainingSetup, retrain_model

PUBLISHED = {"Attn-WS": "attention", "Head-WS": "head", "Rand-WS": "random"}
STRATEGIES = {**PUBLISHED, "weighted Attn-WS": "weighted"}
FEWER = "fewer encoders"
RANKS = (1, 2, 4, 8, 16, 32)
_SCHEDULE_END = 0.1  # before it is fitted to a budget
_TABLES_OF_SPEED = ("table2", "table3")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What the flags of the same names say."""

    data_dir: str = ""
    checkpoint: str = ""
    examples: int = 0
    targets: Sequence[float] = (1.5, 2.0, 3.0)
    epochs: int = 0
    retention: str = ""


def measure(experiment: str, folder: Path, options: Options) -> dict[str, Any]:
    """One of the experiments in `published_results.CLAIMS` on the run in a folder.

    Raises:
        InputError: There is no run.
        ValueError: It does not have what the experiment needs.
    """
    if experiment in _TABLES_OF_SPEED:
        found = read_speedups(folder)
        if experiment == "table3" and "albert" not in found["checkpoint"].lower():
            raise ValueError(f"{folder} is a run of {found['checkpoint']}; expected one of ALBERT.")
        return found
    run = read_run(folder, options.data_dir, options.checkpoint)
    size = run.checkpoint.config.num_hidden_layers
    if experiment == "figure2":
        found = measure_figure2(run, options.examples)
    elif experiment == "figure5":
        found = measure_figure5(run, options.examples)
    elif experiment == "table4":
        kept = geometric_schedule(_SCHEDULE_END, size)
        if options.retention:
            kept = parse_configuration(options.retention, size, run.settings.inputs.max_seq_length)
        found = measure_selection(run, options.examples, kept)
    else:
        found = measure_strategies(run, options.examples, options.targets, options.epochs)
    return {
        "task": run.task.name,
        "checkpoint": run.checkpoint.name,
        "metric": run.task.metrics[0],
        "data": run.dataset.source,
        "seed": run.settings.training.seed,
        **found,
    }


def dev_examples(run: Run, most: int) -> EncodedSplit:
    """Dev examples spread over the split; all where there are no more than `most`, or for 0."""
    dev = run.split("dev")
    if not most or len(dev) <= most:
        return dev
    return dev.take(np.linspace(0, len(dev) - 1, most).round().astype(int))


def measure_figure2(run: Run, examples: int) -> dict[str, Any]:
    """Mean cosine similarity by encoder, see `cosine_similarities`; the first entry is of the embeddings."""
    batches = list(_batches(run, dev_examples(run, examples)))
    return {"cosine": cosine_similarities(run.dense_model(), batches)}


def measure_figure5(run: Run, examples: int, ranks: Sequence[int] = RANKS) -> dict[str, Any]:
    """Mutual information of the fine-tuned model's answer and that without the k-th word-vector of an encoder.

    Returns:
        `ranks`; `information`, nats by encoder and rank, `[L - 1][ranks]`; `flipped`, the share of answers that change;
        `entropy`, nats of the answers themselves, which information cannot exceed; `examples`, by rank: only those
        that have a k-th word-vector count.

    Raises:
        ValueError: The run is a regression, or no example is long enough for any rank.
    """
    if run.task.is_regression:
        raise ValueError(f"{run.task.name} is a regression; expected a task with classes.")
    dense, dev = run.dense_model(), dev_examples(run, examples)
    longest = int(dev.lengths.max())
    ranks = [rank for rank in ranks if rank < longest and np.sum(dev.lengths > rank) >= len(dev) // 4]
    if not ranks:
        raise ValueError(f"the longest example has {longest} tokens; expected more.")
    usual, lengths, without = [], [], []
    for batch in _batches(run, dev):
        usual.append(np.argmax(np.asarray(dense(dict(batch), training=False)), axis=-1))
        lengths.append(np.asarray(batch["padding_mask"]).sum(axis=1))
        found = [logits_without(dense, batch, encoder, ranks) for encoder in range(len(dense.encoders) - 1)]
        without.append(np.argmax(found, axis=-1))
    answers, rows, others = np.concatenate(usual), np.concatenate(lengths), np.concatenate(without, axis=-1)
    long_enough = [rows > rank for rank in ranks]

    def by_encoder(measure) -> list[list[float]]:
        return [
            [measure(answers[has], column[has]) for column, has in zip(of_encoder, long_enough, strict=True)]
            for of_encoder in others
        ]

    return {
        "ranks": ranks,
        "information": by_encoder(mutual_information),
        "flipped": by_encoder(lambda before, after: float(np.mean(before != after))),
        "entropy": [mutual_information(answers[has], answers[has]) for has in long_enough],
        "examples": [int(np.sum(has)) for has in long_enough],
    }


def measure_strategies(run: Run, examples: int, targets: Sequence[float], epochs: int) -> dict[str, Any]:
    """Metric of each way of making the model cheaper, at the same numbers of multiply-adds.

    Word-vectors are chosen in several ways, all with the geometric schedule that is so much cheaper on the dev split
    grouped by length; then whole encoders are left out.

    Args:
        run: Fine-tuned.
        examples: Dev examples, at most; 0 for all.
        targets: Times fewer multiply-adds.
        epochs: Epochs of training each towards the fine-tuned model's answers; 0 for none.

    Returns:
        `dense`, the metric; and `rows`, each with `strategy`, `target`, `saved` (times fewer multiply-adds without
        padding), `metric` and what it keeps.
    """
    dev = dev_examples(run, examples)
    size, longest = run.checkpoint.config.encoder_size, run.settings.inputs.max_seq_length
    costs = Costs(count_costs(size, longest, 1), np.sort(dev.lengths), size.num_encoders)
    rows = []
    for target in targets:
        configuration = fit_to_budget(geometric_schedule(_SCHEDULE_END, size.num_encoders), costs, target)
        saved = summarize_cost(size, configuration, dev.lengths, longest)["unpadded"]["saved"]
        for strategy, selection in STRATEGIES.items():
            model = with_retention(run.dense_model(), configuration, selection=selection)
            rows.append(
                {
                    "strategy": strategy,
                    "target": target,
                    "saved": saved,
                    "metric": _metric_of(run, model, dev, epochs),
                    "keeps": list(configuration),
                }
            )
    full = _mean_cost(size, dev.lengths)
    for count in range(size.num_encoders - 1, 0, -1):
        saved = full / _mean_cost(dataclasses.replace(size, num_encoders=count), dev.lengths)
        metric = _metric_of(run, first_encoders(run.dense_model(), count), dev, epochs)
        rows.append({"strategy": FEWER, "target": saved, "saved": saved, "metric": metric, "keeps": count})
    return {"dense": _metric_of(run, run.dense_model(), dev, 0), "rows": rows}


def measure_selection(run: Run, examples: int, configuration: Sequence[float]) -> dict[str, Any]:
    """Metric of each selection with the same configuration, nothing re-trained: all of dev, and its longer half.

    Returns:
        `rows`, each with `strategy`, `all` and `longer` (examples above the median length); `median`.
    """
    dev = dev_examples(run, examples)
    median = float(np.median(dev.lengths))
    halves = {"all": np.arange(len(dev)), "longer": np.flatnonzero(dev.lengths > median)}
    models = {"fine-tuned": None, **STRATEGIES}
    rows = []
    for strategy, selection in models.items():
        dense = run.dense_model()
        model = dense if selection is None else with_retention(dense, configuration, selection=selection)
        logits = predict_logits(model, dev, run.settings.inference.in_plain_graph())
        metrics = {
            name: compute_metrics(run.task, dev.labels[half], logits[half])[run.task.metrics[0]]
            for name, half in halves.items()
        }
        rows.append({"strategy": strategy, **metrics})
    return {"rows": rows, "median": median, "configuration": list(configuration)}


def read_speedups(folder: Path) -> dict[str, Any]:
    """Metric and speed of a finished run, from its evaluate stage, else from its search.

    Returns:
        `task`, `checkpoint`, `metric`, `dense`, `reduced`, `grouped`, `padded` (times faster), `retrained`.

    Raises:
        ValueError: Neither stage has measured anything.
    """

    def read(stage: str) -> dict[str, Any] | None:
        path = folder / stage / "result.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    evaluated, searched, tuned = read("evaluate"), read("search"), read("finetune")
    if evaluated is not None:
        found, retrained = evaluated, True
        dense, reduced = (evaluated[name]["metrics"] for name in ("dense", "reduced"))
        grouped, padded = evaluated["speedup"]["grouped"], evaluated["speedup"]["padded"]
    elif searched is not None and tuned is not None and searched.get("measured_speedup"):
        found, retrained = searched, False
        dense, reduced = tuned["metrics"], searched["metrics"]
        grouped, padded = searched["measured_speedup"], searched.get("measured_speedup_over_padded")
    else:
        raise ValueError(f"{folder}: nothing measured; expected an evaluate stage, or a search to a target.")
    return {
        "task": found["task"],
        "checkpoint": found["settings"]["checkpoint"],
        "metric": found["metric"],
        "dense": dense[found["metric"]],
        "reduced": reduced[found["metric"]],
        "grouped": grouped,
        "padded": padded,
        "retrained": retrained,
    }


def _batches(run: Run, dev: EncodedSplit) -> Iterable[Inputs]:
    batches = prediction_batches(dev, run.settings.inference.eval_batch_size)
    return (inputs for inputs, _ in batches)


def _mean_cost(size, lengths: np.ndarray) -> float:
    return float(np.mean([multiply_adds(size, int(length)) for length in lengths]))


def _metric_of(run: Run, model: BertClassifier, dev: EncodedSplit, epochs: int) -> float:
    """The main dev metric, after training towards the fine-tuned model's answers where there are epochs."""
    if epochs:
        with tempfile.TemporaryDirectory() as folder:
            settings = run.settings.replace(epochs_retrain=epochs, distillation="logits")
            setup = TrainingSetup(run.task, run.split("train"), dev, settings.training, settings.inference)
            retrain_model(model, run.dense_model(), setup, Path(folder), "re-train")
    logits = predict_logits(model, dev, run.settings.inference.in_plain_graph())
    return compute_metrics(run.task, dev.labels, logits)[run.task.metrics[0]]
