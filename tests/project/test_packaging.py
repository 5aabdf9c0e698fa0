"""What `pip install` gives, outside the repository."""

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pandas as pd
import pytest
import yaml
from conftest import REPOSITORY
from packaging.requirements import Requirement
from tiny_bert import random_weights, tiny_config, write_hugging_face_checkpoint
from tiny_task import write_checkpoint

import powerbert_tf


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of what the package is built from: building writes beside the sources."""
    pytest.importorskip("setuptools", minversion="77", reason="builds the package")
    source = tmp_path_factory.mktemp("built") / "source"
    shutil.copytree(REPOSITORY / "powerbert_tf", source / "powerbert_tf", ignore=shutil.ignore_patterns("__pycache__"))
    for path in REPOSITORY.iterdir():
        if path.suffix in (".cfg", ".cff", ".toml", ".txt", ".in", ".md", ".py") or path.name == "LICENSE":
            shutil.copy(path, source)
    return source


@pytest.fixture(scope="module")
def installed(source):
    """A folder with the package and its command, installed from a copy."""
    root = source.parent
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", f"--target={root / 'site'}", source], check=True, timeout=300)
    return root / "site"


@pytest.fixture(scope="module")
def powerbert(installed, tmp_path_factory):
    """Runs the installed command in a folder of its own, where no repository is."""
    folder = tmp_path_factory.mktemp("elsewhere")

    def run(*arguments):
        command = [installed / "bin" / "powerbert", *map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": str(installed)}
        return folder, subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)

    return run


def files(root):
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and path.suffix != ".pyc"}


def test_the_package_is_all_there(installed):
    assert files(installed / "powerbert_tf") == files(REPOSITORY / "powerbert_tf")
    assert (installed / "powerbert_tf" / "py.typed").read_text() == ""
    others = {path.name for path in installed.iterdir()} - {"powerbert_tf", "bin", "__pycache__"}
    assert others == {f"powerbert_tf-{powerbert_tf.__version__}.dist-info"}  # nothing else at the top level


def test_extras_are_the_requirements_files(installed):
    metadata = (installed / f"powerbert_tf-{powerbert_tf.__version__}.dist-info" / "METADATA").read_text("utf-8")
    required = [Requirement(line) for line in re.findall(r"^Requires-Dist: (.*)$", metadata, flags=re.MULTILINE)]

    def of(extra):
        return {(one.name, str(one.specifier)) for one in required if extra in str(one.marker or "")}

    def listed(*names):
        lines = [line.split("#")[0] for name in names for line in (REPOSITORY / name).read_text().splitlines()]
        return {(one.name, str(one.specifier)) for one in map(Requirement, filter(str.strip, lines))}

    hub, export = "requirements-hub.txt", "requirements-export.txt"
    assert of("hub") == listed(hub) | of("bench") & of("hub")
    assert of("export") == listed(export)
    assert of("beam") == listed("requirements-beam.txt")
    assert of("serve") == listed("requirements-serve.txt")
    assert of("docs") == listed("requirements-docs.txt")
    assert of("bench") == listed(hub, export, "requirements-benchmark.txt")
    assert {(one.name, str(one.specifier)) for one in required if not one.marker} == listed("requirements.txt")


def test_the_description_has_no_link_that_a_registry_cannot_follow(installed):
    metadata = (installed / f"powerbert_tf-{powerbert_tf.__version__}.dist-info" / "METADATA").read_text("utf-8")
    description = metadata.partition("\n\n")[2]
    assert description.startswith("# PoWER-BERT for Keras")
    targets = re.findall(r"\]\(([^)]*)\)", description)
    assert targets
    assert all(target.startswith("https://") for target in targets)
    # Nothing but links is left out: each word of README is there.
    readme = re.sub(r"!?\[|\]\([^)]*\)|\*", "", (REPOSITORY / "README.md").read_text("utf-8"))
    assert re.sub(r"\[|\]\([^)]*\)|\*", "", description).split() == readme.split()


@pytest.mark.slow
def test_the_source_distribution_builds_the_same(source, installed, tmp_path):
    """From the archive alone, as installers do where they take no wheel."""
    build = "import sys; from setuptools import build_meta; print(build_meta.build_{}(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", build.format("sdist"), tmp_path], cwd=source, check=True, timeout=300)
    (sdist,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    unpacked = tmp_path / sdist.name.removesuffix(".tar.gz")
    assert {"README.md", "CHANGELOG.md", "CITATION.cff", "LICENSE", "setup.py", "requirements.txt"} <= files(unpacked)
    subprocess.run([sys.executable, "-c", build.format("wheel"), tmp_path], cwd=unpacked, check=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if name.startswith("powerbert_tf/")}
    assert names == {f"powerbert_tf/{name}" for name in files(installed / "powerbert_tf")}


@pytest.mark.slow
def test_the_command_tells_its_flags(powerbert):
    _, done = powerbert("--help")
    assert done.returncode == 0, done.stderr
    assert "powerbert --task=MRPC" in done.stdout
    assert "--target_speedup" in done.stdout
    checkout = subprocess.run(
        [sys.executable, "run_glue.py", "--help"], cwd=REPOSITORY, capture_output=True, text=True, timeout=300
    )

    assert checkout.stdout == done.stdout


@pytest.mark.slow
def test_the_command_runs_a_stage_where_no_repository_is(powerbert, tmp_path):
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    folder, done = powerbert(
        "--task=SST-2", "--stage=finetune", f"--checkpoint={checkpoint}", "--data_dir=here", "--max_seq_length=31",
        "--epochs=1", "--train_examples=29", "--batch_size=13",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (folder / "runs" / "SST-2" / "finetune" / "result.json").is_file()


_MAKES_SMALL = """
import functools, json, runpy, sys
import powerbert_tf
script, name, settings = sys.argv[1:]
setattr(powerbert_tf, name, functools.partial(getattr(powerbert_tf, name), **json.loads(settings)))
runpy.run_path(script)
"""
_SMALL = {
    "max_seq_length": 31, "cost_model": "multiply_adds", "calibration_examples": 17, "latency_batch_size": 5,
    "batch_size": 13, "epochs_retrain": 1, "search_over": "rows",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "name", "more", "leaves"),
    [
        ("train_on_a_data_frame.py", "train", {"checkpoint": "path/to/classifier", "epochs": 1}, "fast_reviews"),
        ("accelerate_without_labels.py", "accelerate", {}, "fast_requests"),
    ],
)
def test_an_example_runs_where_no_repository_is(script, name, more, leaves, installed, tmp_path):
    """In small: a tiny checkpoint, and few steps."""
    code = (REPOSITORY / "examples" / script).read_text(encoding="utf-8")
    assert len([line for line in code.split('"""')[2].splitlines() if line.strip()]) <= 10
    config = tiny_config()
    write_hugging_face_checkpoint(tmp_path / "path" / "to" / "classifier", config, random_weights(config, 3))
    texts = [text for text in ("a b a a", "b b a b c", "a a b a b b", "c b") for _ in range(13)]
    (tmp_path / "requests.txt").write_text("\n".join(texts), encoding="utf-8")
    pd.DataFrame({"text": texts, "label": ["good", "bad"] * 26}).to_csv(tmp_path / "reviews.csv", index=False)
    done = subprocess.run(
        [sys.executable, "-c", _MAKES_SMALL, REPOSITORY / "examples" / script, name, json.dumps({**_SMALL, **more})],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(installed)}, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "agrees with the original" in done.stdout  # the report
    assert (tmp_path / leaves / "fast_classifier.json").is_file()


def test_the_citation_names_the_paper_and_the_version():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(REPOSITORY / "setup.cfg")
    assert (citation["version"], citation["license"]) == (powerbert_tf.__version__, setup["metadata"]["license"])
    (paper,) = citation["references"]
    assert (paper["year"], paper["authors"][0]["family-names"]) == (2020, "Goyal")
    assert "2001.08950" in paper["url"]
