"""Sound files of each kind: small, and as this program and others write them."""

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from powerbert_tf.checkpoints import google, hugging_face
from powerbert_tf.models.architectures import ARCHITECTURES
from powerbert_tf.models.classifier import BertClassifier
from powerbert_tf.models.config import BertConfig, config_of
from powerbert_tf.runs.folder import WEIGHTS_FILE
from powerbert_tf.runs.result_schema import RESULT_FILE
from powerbert_tf.runs.run import Run

SIZES = {
    "vocab_size": 29,
    "hidden_size": 6,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 7,
    "max_position_embeddings": 23,  # RoBERTa's first two have no token
}
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijkl", *(f"##{letter}" for letter in "abcdefghijkl")]
MAX_SEQ_LENGTH = 17
CONFIGURATION = (0.75, 0.5)


def write_vocabulary(folder: Path) -> None:
    """Writes `vocab.txt`."""
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in PIECES), encoding="utf-8")


def write_hugging_face(folder: Path, architecture: str = "bert") -> None:
    """Writes a checkpoint of an architecture in Hugging Face's format, with BERT's tokenizer."""
    keys = {"distilbert": {"n_layers": 2, "dim": 6, "n_heads": 2, "hidden_dim": 7}}.get(architecture, {})
    model = _model(config_of(architecture, {**SIZES, "type_vocab_size": 2, **keys}))
    pad_id = ARCHITECTURES[architecture].required.get("pad_token_id", 0)
    hugging_face.write_checkpoint(folder, model, ["bad", "good"], pad_id)
    write_vocabulary(folder)


def write_google(folder: Path, architecture: str = "bert") -> None:
    """Writes a checkpoint of BERT or ALBERT in Google's format."""
    more = {"hidden_act": "gelu_new"} if architecture == "albert" else {}  # what its "gelu" means
    google.write_checkpoint(folder, _model(config_of(architecture, {**SIZES, **more})))
    write_vocabulary(folder)


def _model(config: BertConfig) -> BertClassifier:
    return BertClassifier(config, 2, MAX_SEQ_LENGTH)


def write_data(data_dir: Path) -> None:
    """Writes SST-2 and STS-B with few rows, and `own.tsv` and `own.json`, a task of its own."""
    draw = random.Random(0)

    def text() -> str:
        return " ".join(draw.choice("abcdefghijkl") for _ in range(draw.randint(1, 6)))

    similarity = "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2"
    rows = {
        "SST-2/train": ["sentence\tlabel", *(f"{text()}\t{number % 2}" for number in range(40))],
        "SST-2/dev": ["sentence\tlabel", *(f"{text()}\t{number % 2}" for number in range(12))],
        "SST-2/test": ["index\tsentence", *(f"{number}\t{text()}" for number in range(8))],
        "STS-B/dev": [
            f"{similarity}\tscore",
            *(f"{number}\tg\tf\t1\t2\ts\tt\t{text()}\t{text()}\t{number / 4}" for number in range(20)),
        ],
        "own": ["text\tlabel", *(f"{text()}\t{'good' if number % 2 else 'bad'}" for number in range(40))],
    }
    for name, lines in rows.items():
        path = data_dir / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")


# What a run leaves in its `task.json`, every key that one may have among them.
TASK: Mapping[str, Any] = {
    "name": "reviews",
    "classes": ["bad", "good"],
    "regression": False,
    "text_column": "text",
    "label_column": "label",
    "metric": "accuracy,f1",
    "max_seq_length": 17,
    "truncation": "head",
    "case": "uncased",
    "train_file": "own.tsv",
    "dev_share": 0.2,
    "on_bad_row": "error",
    "quoting": "minimal",
    "class_weights": "none",
    "epochs": 2,
    "batch_size": 8,
    "learning_rate": 3e-5,
    "target_speedup": 1.5,
    "seed": 3,
}
RETENTION: Mapping[str, Any] = {
    "max_seq_length": 128,
    "selection": "weighted",
    "kind": "fractions",
    "values": [0.9, 0.6125, 0.1],
    "budgets": [
        {"target_speedup": 1.5, "kind": "fractions", "values": [1.0, 0.9, 0.2]},
        {"target_speedup": 2.0, "kind": "fractions", "values": [0.5, 0.5, 0.0001]},
    ],
}


def results(run: Run) -> dict[str, dict[str, Any]]:
    """Returns `result.json` of each stage of a run, as the stages write them; the numbers are made up."""
    accuracy = {"accuracy": 0.75}
    common = {"task": run.task.name, "data": run.dataset.source, "metric": "accuracy", "metrics": accuracy}
    after = {"examples": 12, "seconds": 1.5, "compilations": 0, "compile_seconds": 0.0}
    kept = {"retention_configuration": list(CONFIGURATION)}
    reached = {"predicted_speedup": 1.6, "measured_speedup": 1.4, "measured_speedup_over_padded": 3.5}
    cost = {"dense": 1000.5, "reduced": 500, "saved": 2.0}
    point = {"strategy": "calibrate", "target_speedup": 1.5, "configuration": list(CONFIGURATION), "metric": 0.75}
    found: dict[str, dict[str, Any]] = {
        "finetune": {**common, "epoch": 2, **after, "train_examples": 40},
        "search": {
            **common, "search_method": "calibrate", "target_speedup": 1.5, **reached, "latency_batch_size": 32, **kept,
            "profile": {"fractions": [1.0, 0.5], "damages": [[0.0, 0.125], [0.0, 0.25]]}, **after,
        },
        "retrain": {**common, "metrics_before": accuracy, "epoch": 1, **kept, **after, "train_examples": 40},
        "evaluate": {
            **common, "dense": {"metrics": accuracy}, "reduced": {"metrics": accuracy}, "agreement": 0.875,
            "classes": ["0", "1"],
            "per_class": {"0": {"precision": 0.5, "recall": 0.5, "f1": 0.5, "examples": 6}}, **kept,
            "speedup": {
                "grouped": 1.4, "batch": 2.0, "padded": 3.5,
                "milliseconds": {
                    "dense, grouped by length": 4.5, "dense, padded to the batch": 5.0, "dense, padded to N": 9.0,
                    "reduced, grouped by length": 3.25,
                },
                "batch_size": 32, "device": "a processor, 2 cores", "predicted": 1.6,
            },
            "multiply_adds": {
                "padded": cost, "unpadded": cost, "padded_to_unpadded": cost, "kept": [4.5, 1.0], "mean_length": 6.5,
            },
            **after,
        },
        "elastic": {
            **common, "smallest": list(CONFIGURATION),
            "budgets": [{"target_speedup": 1.5, **reached, "metrics": accuracy, **kept}], **after,
        },
        "pareto": {
            **common, "points": [{**point, "predicted_speedup": 1.6, "speedup": 1.4, "speedup_padded": 3.5, "seed": 0}],
            "baselines": [{"name": "padded to N", "milliseconds": 9.0, "speedup": 0.5, "metric": 0.75}],
            "measured_on": "a processor, 2 cores", **after,
        },
        "export": {
            **common, "version": 1, "path": "saved_model/1", **kept,
            "formats": {"tf_saved_model": {"version": 1, "path": "saved_model/1", **kept}}, **after,
        },
    }  # fmt: skip
    return {stage: {**values, "settings": run.settings_of(stage)} for stage, values in found.items()}


def write_results(run: Run) -> None:
    """Writes the folder of a run whose stages are all finished; its weights are empty files."""
    for stage, values in results(run).items():
        folder = run.folder.stage(stage)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / WEIGHTS_FILE).touch()
        (folder / RESULT_FILE).write_text(json.dumps(values), encoding="utf-8")
    (run.folder.root / "saved_model" / "1").mkdir(parents=True, exist_ok=True)
