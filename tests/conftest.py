"""What several test modules share."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from made_up_attention import attention  # noqa: F401 - a fixture

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
if "PYTEST_XDIST_WORKER" in os.environ:
    # A worker per core: pools of threads of their own would only take cores from each other.
    for variable in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(variable, "1")

REPOSITORY = Path(__file__).resolve().parent.parent
# Folders in which single functions are tested come first, so that their failures are seen first; then whole runs.
_LAST = ("runs", "acceleration", "benchmarks", "project")


def pytest_collection_modifyitems(items):
    """Orders tests from cheap to dear: rooms, whole runs, and within each of them what is marked slow."""

    def key(item):
        folder = item.path.parent.name
        return item.get_closest_marker("slow") is not None, _LAST.index(folder) + 1 if folder in _LAST else 0

    items.sort(key=key)  # stable


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Tests keep nothing among the user's files, and find nothing there."""
    os.environ["POWERBERT_TF_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    """Runs of the tiny task, trained once for all workers; tests write to copies."""
    from tiny_run import TinyRun  # imports TensorFlow, which must see the variables from above

    own = tmp_path_factory.getbasetemp()
    return TinyRun((own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "tiny_run")


@pytest.fixture(scope="session")
def original_release():
    """Outputs of the original release's own code; beside the repository, and not part of it."""
    folder = REPOSITORY.parent / "shared" / "original_release"
    if not folder.is_dir():
        pytest.skip(f"the original release's outputs are not at {folder}")
    return folder


@pytest.fixture(scope="session")
def run_python():
    """Runs Python code in a fresh process and returns the finished process; a failure shows its output."""

    def run(code, *arguments, expected=0, **environment):
        process = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            cwd=REPOSITORY,
            timeout=300,
        )
        assert process.returncode == expected, process.stdout + process.stderr
        return process

    return run
