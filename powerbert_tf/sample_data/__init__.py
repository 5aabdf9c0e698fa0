"""Small made-up GLUE files: the original layouts, with sentences drawn from grammars and word lists of this package."""

import pathlib

from powerbert_tf.errors import InputError
from powerbert_tf.sample_data import grammar, layouts, news, pronouns, questions, reviews, scenes
from powerbert_tf.sample_data.choices import Choices
from powerbert_tf.sample_data.layouts import Example
from powerbert_tf.tasks import TASKS, Task

DEFAULT_FOLDER = pathlib.Path("glue_data/sample")

# Share of each label, near that of the real files; STS-B: levels of similarity.
SHARES: dict[str, dict[str, float]] = {
    "CoLA": {"1": 0.7, "0": 0.3},
    "SST-2": {"1": 0.55, "0": 0.45},
    "MRPC": {"1": 0.67, "0": 0.33},
    "STS-B": dict.fromkeys("012345", 1 / 6),
    "QQP": {"0": 0.6, "1": 0.4},
    "MNLI": dict.fromkeys(("contradiction", "entailment", "neutral"), 1 / 3),
    "QNLI": {"entailment": 0.5, "not_entailment": 0.5},
    "RTE": {"entailment": 0.5, "not_entailment": 0.5},
    "WNLI": {"0": 0.5, "1": 0.5},
}
_WRITERS = {
    "CoLA": grammar.acceptability,
    "SST-2": reviews.review,
    "MRPC": news.paraphrase_pair,
    "QQP": questions.question_pair,
    "QNLI": questions.answer_pair,
    "RTE": news.inference_pair,
    "WNLI": pronouns.pronoun_pair,
}
_LARGE = {"train": 1000, "dev": 200, "test": 200}
_SMALL = {"train": 200, "dev": 60, "test": 60}
SIZES = {folder: _LARGE if folder in ("MRPC", "SST-2") else _SMALL for folder in SHARES}


def write_sample(folder: pathlib.Path, task: Task) -> None:
    """Writes the task's files into `folder`, which is made if missing; MNLI: those of both genres.

    The bytes depend on the task alone. No two rows of a task have the same texts, within a file or across files.

    Raises:
        InputError: There is no grammar for the task.
    """
    if task.folder not in SHARES:
        raise InputError(f"--task={task.name}: no sample data; expected one of {', '.join(SHARES)}.")
    folder.mkdir(parents=True, exist_ok=True)
    seen: set[tuple[str, ...]] = set()
    for split in layouts.SPLITS:
        siblings = [sibling for sibling in TASKS.values() if sibling.folder == task.folder]
        for file_name in dict.fromkeys(sibling.files[split] for sibling in siblings):
            choices = Choices(task.folder, file_name)
            examples = _examples(choices, task.folder, file_name, SIZES[task.folder][split], seen)
            text = layouts.file_text(task.folder, split, examples, choices)
            (folder / file_name).write_bytes(text.encode("utf-8"))


def _examples(choices: Choices, folder: str, file_name: str, size: int, seen: set[tuple[str, ...]]) -> list[Example]:
    examples = []
    for label in _labels(choices, SHARES[folder], size):
        while (example := _example(choices, folder, file_name, label)).texts in seen:
            pass
        seen.add(example.texts)
        examples.append(example)
    return examples


def _labels(choices: Choices, shares: dict[str, float], size: int) -> list[str]:
    """Returns `size` labels in a drawn order, their counts those of the shares."""
    first, *others = shares
    counts = {label: round(shares[label] * size) for label in others}
    labels = [label for label, count in counts.items() for _ in range(count)]
    labels += [first] * (size - len(labels))
    return choices.several(labels, size)


def _example(choices: Choices, folder: str, file_name: str, label: str) -> Example:
    if folder == "STS-B":
        texts, score = scenes.scored_pair(choices, label)
        return Example(texts, f"{score:.3f}")
    if folder == "MNLI":
        genre = choices.one(scenes.MISMATCHED if "mismatched" in file_name else scenes.MATCHED)
        return Example(scenes.genre_pair(choices, label, genre), label, genre)
    return Example(_WRITERS[folder](choices, label), label)
