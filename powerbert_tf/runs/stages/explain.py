"""The explain stage: a page, or text, that shows which tokens the reduced model eliminates."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from powerbert_tf.batches.encoded_split import EncodedSplit, encode_split
from powerbert_tf.batches.padded_batches import prediction_batches
from powerbert_tf.common.reporting import say
from powerbert_tf.data.kinds import LABELS, NUMBER
from powerbert_tf.data.metrics import predictions_from_answers, same_answers
from powerbert_tf.data.splits import Split, texts_of_lines
from powerbert_tf.data.tasks import Task
from powerbert_tf.models.classifier import BertClassifier
from powerbert_tf.reports.word_inspector import (
    Explanation,
    explain_batches,
    explanation_text,
    inspector_page,
    token_statistics,
    token_table,
)
from powerbert_tf.runs.run import Run

_PAGE, _TEXT, _WORDS, _TABLE = "index.html", "explain.txt", "words.csv", "pieces.csv"
_PRINTED = 10  # examples on the console


def explain(run: Run, folder: Path) -> dict[str, Any]:
    """Writes `index.html` or `explain.txt`, as `--format` says, and the tables `pieces.csv` and `words.csv`.

    Returns:
        The content of `result.json`.

    Raises:
        InputError: A line of `--explain_text` does not hold one text, or one pair.
    """
    texts, columns = _given_texts(run) if run.settings.reports.explain_text else _dev_examples(run)
    dense, reduced = run.dense_model(), run.reduced_model()
    tasks = {"dense": run.task_of("finetune"), "reduced": run.task_of("retrain")}
    is_multi_label = run.task.kind is LABELS
    thresholds = {model: task.thresholds for model, task in tasks.items()} if is_multi_label else None
    batches = prediction_batches(texts, run.settings.inference.eval_batch_size)
    explanations = sorted(
        explain_batches(
            dense,
            reduced,
            (inputs for inputs, _ in batches),
            batches.order(),
            run.tokenizer.spelled(),
            run.task.kind,
            texts.labels,
            (tasks["dense"].temperature, tasks["reduced"].temperature),
            columns,
        ),
        key=lambda one: one.number,
    )
    token_table(explanations).to_csv(folder / _TABLE, index=False)
    token_statistics(explanations, fewest=1).to_csv(folder / _WORDS, index=False)
    file = _TEXT if run.settings.reports.format == "text" else _PAGE
    if file == _TEXT:
        shown = [explanation_text(one, run.task.classes, thresholds) for one in explanations]
        (folder / file).write_text("\n\n".join(shown) + "\n", encoding="utf-8")
        say("\n\n".join(shown[:_PRINTED]))
        if len(shown) > _PRINTED:
            say(f"  … and {len(shown) - _PRINTED} more in {file}")
    else:
        title = f"{run.task.name}: what the model reads"
        page = inspector_page(explanations, title, _facts(run, reduced), run.task.classes, thresholds)
        (folder / file).write_text(page, encoding="utf-8")
    return {"examples": len(explanations), "file": file, "disagreements": _disagreements(explanations, tasks)}


def _given_texts(run: Run) -> tuple[EncodedSplit, Sequence[Sequence[str]]]:
    texts = texts_of_lines("explain_text", run.settings.reports.explain_text, run.task.is_pair)
    split = Split(texts=texts, labels=None, indices=None)
    return encode_split(split, run.tokenizer, run.settings.inputs.max_seq_length), texts


def _dev_examples(run: Run) -> tuple[EncodedSplit, Sequence[Sequence[str]]]:
    """Dev examples and their texts, spread over the split if it has more than `--explain_examples`."""
    dev, texts = run.split("dev"), run.dataset.splits["dev"].texts
    count = min(len(dev), run.settings.reports.explain_examples)
    rows = np.linspace(0, len(dev) - 1, count).round().astype(int)
    return dev.take(rows) if count < len(dev) else dev, [[column[row] for row in rows] for column in texts]


def _facts(run: Run, reduced: BertClassifier) -> list[str]:
    facts = [run.checkpoint.name, f"keeps {reduced.reduction}"]
    evaluated = run.results.result("evaluate")
    if evaluated is not None:
        main = evaluated["metric"]
        before, after = (evaluated[name]["metrics"][main] for name in ("dense", "reduced"))
        facts.append(f"dev {main} {before:.4f} dense, {after:.4f} reduced")
        facts.append(f"{evaluated['speedup']['grouped']:.2f} times faster on batches grouped by length")
    return facts


def _disagreements(explanations: list[Explanation], tasks: Mapping[str, Task]) -> int | None:
    if tasks["dense"].kind is NUMBER:
        return None
    answers = (
        predictions_from_answers(task, np.array([getattr(one, model) for one in explanations]))
        for model, task in tasks.items()
    )
    return int(np.sum(~same_answers(*answers)))
