"""Imports go one way, from room to room and from file to file, and the method knows neither TensorFlow nor a model."""

import ast
import shutil
from pathlib import Path

import pytest

import powerbert_tf

PACKAGE = Path(__file__).resolve().parents[2] / "powerbert_tf"

# The rooms and the files beside them, from the ground up: a room may import those before it.
ORDER = (
    "common",
    "data",
    "elimination",
    "models",
    "checkpoints",
    "tokenizers",
    "batches",
    "latency",
    "training",
    "search",
    "export",
    "serve_check",
    "prediction",
    "reports",
    "runs",
    "beam",
    "server",
    "acceleration",
    "command_line",
)
# Files that the backends share, so that none of them may need TensorFlow.
BACKEND_FREE = (
    "batches/buckets.py",
    "elimination/*.py",
    "latency/costs.py",
    "models/architectures.py",
    "models/classifier.py",
    "models/config.py",
    "models/encoder.py",
    "models/precision.py",
    "search/*.py",
    "training/elastic.py",
    "training/losses.py",
    "training/optimizer.py",
)


def module_of(path, package):
    """`runs/stages/search.py` is `powerbert_tf.runs.stages.search`; a folder's `__init__.py` is the folder."""
    parts = path.relative_to(package).with_suffix("").parts
    return ".".join(["powerbert_tf", *(parts[:-1] if parts[-1] == "__init__" else parts)])


def names_in(path):
    """All that a file imports, at its top, in a function, or as a string such as `"powerbert_tf.runs.run"`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if node.value.startswith("powerbert_tf.") and " " not in node.value:
                yield node.value.replace(":", ".")
        elif isinstance(node, ast.JoinedStr):  # "powerbert_tf.{name}" may be anything
            first = node.values[0] if node.values else None
            if isinstance(first, ast.Constant) and str(first.value).startswith("powerbert_tf."):
                yield "powerbert_tf.command_line"  # the highest: refused wherever it is


def import_graph(package=PACKAGE):
    """Module -> the modules of the package that it imports."""
    paths = {module_of(path, package): path for path in package.rglob("*.py")}
    graph = {}
    for module, path in paths.items():
        found = set()
        for name in names_in(path):
            while name and name not in paths:
                name = name.rpartition(".")[0]
            found |= {name} - {"", module}
        graph[module] = found
    return graph


def room(module):
    return module.split(".")[1]


def upward_imports(graph):
    return sorted(
        f"{module} imports {other}"
        for module, others in graph.items()
        for other in others
        if module != "powerbert_tf"
        and (other == "powerbert_tf" or ORDER.index(room(other)) > ORDER.index(room(module)))
    )


def circles(graph):
    """Circles of files; a folder's `__init__.py` counts as one of its files."""
    found, done = [], set()

    def visit(module, path):
        if module in path:
            found.append(" -> ".join([*path[path.index(module) :], module]))
        elif module not in done:
            for other in sorted(graph[module]):
                visit(other, [*path, module])
            done.add(module)

    for module in graph:
        visit(module, [])
    return found


def test_no_room_imports_upwards():
    assert upward_imports(import_graph()) == []


def test_no_circle_of_files():
    assert circles(import_graph()) == []


def test_each_room_has_a_place_and_says_what_lives_there():
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    files = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    assert rooms | files == set(ORDER)
    for name in rooms:
        assert ast.get_docstring(ast.parse((PACKAGE / name / "__init__.py").read_text(encoding="utf-8"))), name


def test_the_house_stays_small():
    """The package fits on a screen, and so does each room."""
    assert len([path for path in PACKAGE.iterdir() if path.name != "__pycache__"]) <= 21
    for folder in (path for path in PACKAGE.rglob("*") if path.is_dir()):
        assert len(list(folder.glob("*.*"))) <= 20, folder


@pytest.mark.parametrize(
    "planted",
    [
        "from powerbert_tf.runs.run import Run",
        "import powerbert_tf.runs.run",
        "from powerbert_tf.runs import run",
        "def late():\n    from powerbert_tf.runs.run import Run\n    return Run",
        "import importlib\nrun = importlib.import_module('powerbert_tf.runs.run')",
        "import importlib\ndef load(name):\n    return importlib.import_module(f'powerbert_tf.{name}')",
        "import powerbert_tf",
    ],
)
def test_a_planted_upward_import_is_found(planted, tmp_path):
    package = tmp_path / "powerbert_tf"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "elimination" / "planted.py").write_text(planted + "\n")
    found = upward_imports(import_graph(package))
    assert found
    assert all(line.startswith("powerbert_tf.elimination.planted imports powerbert_tf") for line in found)


def test_a_planted_circle_is_found(tmp_path):
    package = tmp_path / "powerbert_tf"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "search" / "one.py").write_text("from powerbert_tf.search import two\n")
    (package / "search" / "two.py").write_text("from powerbert_tf.search import one\n")
    (found,) = circles(import_graph(package))
    assert set(found.split(" -> ")) == {"powerbert_tf.search.one", "powerbert_tf.search.two"}


@pytest.mark.parametrize("pattern", BACKEND_FREE)
def test_model_code_imports_no_tensorflow(pattern):
    paths = list(PACKAGE.glob(pattern))
    assert paths
    for path in paths:
        assert not [name for name in names_in(path) if name.split(".")[0].startswith("tensorflow")], path


def test_public_names_are_exported():
    for name in powerbert_tf.__all__:
        assert getattr(powerbert_tf, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = powerbert_tf.nothing
