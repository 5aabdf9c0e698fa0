"""Imports go one way, and the model code knows no TensorFlow."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "powerbert_tf"

# From the ground up; a module may import those before it, and its own folder's.
ORDER = [
    "errors",
    "termination",
    "processes",
    "cluster",
    "jax_processes",
    "distribution",
    "determinism",
    "saved_states",
    "run_lock",
    "files",
    "flag",
    "export_formats",
    "cores",
    "cache_folder",
    "serving_shapes",
    "tasks",
    "tables",
    "data_settings",
    "predict_settings",
    "row_checks",
    "file_reader",
    "large_array",
    "text_columns",
    "rejected",
    "labels",
    "dev_split",
    "retention",
    "gains",
    "cost",
    "architectures",
    "bert_config",
    "significance",
    "retention_file",
    "precision",
    "dense",
    "extract",
    "encoder",
    "modeling",
    "checkpoints",
    "provenance",
    "tsv",
    "race",
    "sample_data",
    "tfds_glue",
    "tfds_text",
    "datasets",
    "data_sources",
    "data_summary",
    "packing",
    "tokenization",
    "sentence_pieces",
    "byte_pairs",
    "tokenizer_json",
    "tokenizer_files",
    "tokenizer_folder",
    "buckets",
    "choices",
    "pieces",
    "batch_order",
    "batching",
    "encoded_cache",
    "input_wait",
    "compilation",
    "warm_up",
    "length_proposal",
    "metrics",
    "reliability",
    "own_data",
    "memory_data",
    "weighted_loss",
    "adam_step",
    "optimization",
    "distillation",
    "progress",
    "pareto",
    "pareto_plot",
    "pareto_files",
    "settings",
    "stage_settings",
    "task_file",
    "run_config",
    "memory_hint",
    "request",
    "result_shapes",
    "run_folder",
    "seeds",
    "latency",
    "encoder_costs",
    "cost_check",
    "cost_files",
    "workload",
    "speed",
    "model_copies",
    "replicas",
    "jax_devices",
    "training_state",
    "loss_watch",
    "training",
    "soft_search",
    "calibration",
    "elastic",
    "expectations",
    "warmup_requests",
    "server_files",
    "serve_check",
    "request_checks",
    "serving",
    "onnx_nodes",
    "onnx_model",
    "onnx_form",
    "openvino_form",
    "litert_form",
    "export",
    "report",
    "run",
    "trained",
    "trained_classifier",
    "acceleration_report",
    "rounding",
    "retraining",
    "predictions",
    "streaming",
    "beam",
    "search_methods",
    "curves",
    "elimination_trace",
    "explain",
    "explain_page",
    "explain_stage",
    "tensorboard_logs",
    "svg_text",
    "report_blocks",
    "report_data",
    "report_figures",
    "report_quality",
    "report_speed",
    "report_run",
    "report_sections",
    "report_page",
    "report_stage",
    "model_card",
    "publish",
    "write_back",
    "runtime_card",
    "runtime_forms",
    "stages",
    "run_summaries",
    "stage_plan",
    "preparation",
    "pipeline",
    "acceleration",
    "command_line",
    "flag_table",
]
BACKEND_FREE = (
    "precision",
    "retention",
    "buckets",
    "cost",
    "architectures",
    "bert_config",
    "significance",
    "extract",
    "encoder",
    "modeling",
    "optimization",
    "distillation",
    "elastic",
)
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def concept(path):
    """The top-level name that a file belongs to: `checkpoints/google.py` belongs to `checkpoints`."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path):
    own = ORDER.index(concept(path))
    for name in imported(path):
        if name.startswith("powerbert_tf."):
            other = name.split(".")[1]
            assert other == concept(path) or ORDER.index(other) < own, f"{path.name} imports {name}"
        assert name != "powerbert_tf", f"{path.name} imports the whole package"


@pytest.mark.parametrize("name", BACKEND_FREE)
def test_model_code_imports_no_tensorflow(name):
    assert not [module for module in imported(PACKAGE / f"{name}.py") if module.split(".")[0].startswith("tensorflow")]


def test_the_method_and_bert_are_apart():
    """Without extract.py, encoder.py loses two names and stays BERT's."""
    known = set(imported(PACKAGE / "extract.py"))
    assert not known & {"powerbert_tf.encoder", "powerbert_tf.modeling"}
