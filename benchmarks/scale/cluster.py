"""Starting the processes of `benchmarks.scale` on one machine, and none left running."""

import contextlib
import dataclasses
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common.command import REPOSITORY
from benchmarks.scale.process import Job


def free_addresses(count: int) -> list[str]:
    """Addresses on the loopback that nobody listens on."""
    with contextlib.ExitStack() as opened:
        sockets = [opened.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("localhost", 0))
        return [f"localhost:{each.getsockname()[1]}" for each in sockets]


def cluster_variables(count: int) -> list[dict[str, str]]:
    """`TF_CONFIG` of each process."""
    cluster = {"worker": free_addresses(count)}
    return [
        {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})}
        for index in range(count)
    ]


@contextlib.contextmanager
def started(
    command: Sequence[str], variables: Sequence[dict[str, str]], folder: Path
) -> Iterator[list[subprocess.Popen]]:
    """Starts a process for each set of environment variables, none of which outlives the block.

    They print to `0.out`, `0.err`, `1.out` and so on in a folder.
    """
    running: list[subprocess.Popen] = []
    try:
        for number, own in enumerate(variables):
            with (folder / f"{number}.out").open("w") as out, (folder / f"{number}.err").open("w") as err:
                running.append(
                    subprocess.Popen(command, env={**os.environ, **own}, cwd=REPOSITORY, stdout=out, stderr=err)
                )
        yield running
    finally:
        for process in running:
            process.kill()
            process.wait()


def run_job(job: Job, processes: int = 1, jax_devices: int = 0, timeout: float = 1800) -> dict[str, Any]:
    """Runs a job in processes on the loopback; returns the report of its chief, by kind of training.

    Args:
        job: For each process.
        processes: How many.
        jax_devices: Virtual devices of JAX in each process; 0 for TensorFlow.
        timeout: Seconds.

    Raises:
        RuntimeError: A process failed.
    """
    variables: list[dict[str, str]] = [{}]
    if processes > 1:
        variables = cluster_variables(processes)
    if jax_devices:
        flags = f"--xla_force_host_platform_device_count={jax_devices}"
        on_jax = {"KERAS_BACKEND": "jax", "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
        variables = [{**own, **on_jax} for own in variables]
    command = [sys.executable, "-m", "benchmarks.scale.process", json.dumps(dataclasses.asdict(job))]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shared = [{**own, "SCALE_FOLDER": str(folder / "stages")} for own in variables]
        with started(command, shared, folder) as running:
            for number, process in enumerate(running):
                if process.wait(timeout):
                    said = (folder / f"{number}.err").read_text()
                    raise RuntimeError(f"exit code {process.returncode}:\n{said[-4000:]}")
        return json.loads((folder / "0.out").read_text().splitlines()[-1])
