"""Flags that several commands have, and the files that all of them write."""

import datetime
import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags

from powerbert_tf.common.files import replacing, write_json

RESULTS = Path(__file__).resolve().parents[1] / "results"
REPOSITORY = RESULTS.parents[1]
_PACKAGES = (
    *("tensorflow", "tensorflow-text", "jax", "keras", "keras-hub", "torch", "transformers", "tokenizers"),
    *("onnxruntime", "openvino", "ai-edge-litert"),
)

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags of every benchmark; called by the command, not on import."""
    flags.DEFINE_integer("threads", len(os.sched_getaffinity(0)), "Threads of each engine.", lower_bound=1)
    flags.DEFINE_enum("device", "cpu", ["cpu", "gpu"], "Where to run; engines that see no accelerator are skipped.")
    precisions = ["float32", "mixed_bfloat16", "mixed_float16"]
    flags.DEFINE_enum("precision", "float32", precisions, "Of activations; weights are float32. PyTorch: autocast.")
    define_output_flag()


def define_output_flag() -> None:
    """Defines `--output` alone."""
    flags.DEFINE_string("output", "", "Files to write, without suffix; empty for a name in benchmarks/results.")


def define_run_flags(needs: str) -> None:
    """Defines the flags of commands that measure a run with certain stages."""
    define_flags()
    flags.DEFINE_string("run", "", f"Folder of a run of run_glue.py, such as runs/MRPC, {needs}.")
    flags.DEFINE_string("data_dir", "", "Where the data is; empty for where the run found it.")


def check_names(flag: str, names: Iterable[str], known: Sequence[str]) -> None:
    """Checks the value of a list flag.

    Raises:
        UsageError: A name is not among the known ones.
    """
    unknown = set(names) - set(known)
    if unknown:
        raise app.UsageError(f"--{flag}: {', '.join(sorted(unknown))}; expected some of {', '.join(known)}.")


def output_path(name: str) -> Path:
    """Returns the path without suffix: `--output`, or a name that tells device, backend and precision apart."""
    given = (FLAGS[flag].value for flag in ("device", "precision") if flag in FLAGS)
    kind = [*given, os.environ.get("KERAS_BACKEND", "tensorflow")]
    special = [value for value in kind if value not in ("cpu", "tensorflow", "float32")]
    output = Path(FLAGS.output or RESULTS / "-".join([name, *special]))
    output.parent.mkdir(parents=True, exist_ok=True)
    return output


def surroundings(module: str) -> dict[str, Any]:
    """Returns how something is measured: command, date, versions, threads and precision."""
    given = [
        flag for flag in sys.argv[1:] if not flag.startswith(("--output", "--scratch", "--data_dir"))
    ]  # paths of one machine
    versions = {found.name.lower().replace("_", "-"): found.version for found in importlib.metadata.distributions()}
    backend = os.environ.get("KERAS_BACKEND", "")
    prefix = [f"KERAS_BACKEND={backend}"] if backend else []
    return {
        "command": " ".join([*prefix, "python -m", module, *given]),
        "date": datetime.date.today().isoformat(),
        "python": platform.python_version(),
        "packages": {name: versions[name] for name in _PACKAGES if name in versions},
        **{flag: FLAGS[flag].value for flag in ("threads", "precision") if flag in FLAGS},
    }


def publish(report: dict[str, Any], output: Path, text: str, figure: Any = None) -> None:
    """Writes a report as JSON, its text as Markdown and a Matplotlib figure as PNG; prints the Markdown."""
    write_json(output.with_suffix(".json"), report)
    if figure is not None:
        with replacing(output.with_suffix(".png")) as path:
            figure.savefig(path, format="png", dpi=120)
    with replacing(output.with_suffix(".md")) as path:
        path.write_text(text, encoding="utf-8")
    print(text)
