"""JAX in several processes: how they come together, add up what each has, and what it looks like when one is lost."""

import collections
import contextlib
import os
import re
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from powerbert_tf.common.errors import InputError
from powerbert_tf.training.distribution.cluster import Cluster

_HEARTBEAT = 30  # seconds without a sign of life, after which a process counts as lost
_TOGETHER = 300  # seconds, within which all have to come
# JAX raises ValueErrors and RuntimeErrors of its own for these, which nothing else tells apart.
_LOST = re.compile(
    r"gloo|nccl|connection (closed|reset)|unavailable|aborted|deadline.exceeded|heartbeat", re.IGNORECASE
)


def connect(cluster: Cluster) -> None:
    """Comes together with the other processes; before anything of JAX is run.

    Raises:
        InputError: Something of JAX was run before.
        RuntimeError: The others did not come.
    """
    import jax

    # Of CPUs; GPUs and TPUs have their own.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(
            cluster.addresses[0],
            len(cluster.addresses),
            cluster.rank,
            initialization_timeout=_TOGETHER,
            heartbeat_timeout_seconds=_HEARTBEAT,
        )
    except RuntimeError as error:
        if "before" in str(error):
            raise InputError(f"--distribution=multi_worker: {error}") from None
        raise
    with _printing_nothing():
        total(np.zeros(1, "float32"))


@contextlib.contextmanager
def _printing_nothing() -> Iterator[None]:
    """A block in which C++ prints nothing: gloo tells on stdout, in every process, when it is first used."""
    with contextlib.ExitStack() as held:
        stdout, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
        held.callback(os.close, stdout)
        held.callback(os.close, nowhere)
        os.dup2(nowhere, 1)
        held.callback(os.dup2, stdout, 1)
        yield


def all_devices() -> keras.distribution.DataParallel:
    """A layout in which each device of JAX, of all processes, has the whole model and a share of each batch.

    Raises:
        InputError: One process has more devices than another.
    """
    import jax

    # Those of a process stand together, as its rows of a batch do.
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    counts = collections.Counter(device.process_index for device in devices)
    if len(set(counts.values())) > 1:
        raise InputError(
            f"--distribution=multi_worker: the processes have {', '.join(map(str, counts.values()))} devices of JAX; "
            "expected as many each."
        )
    names = [f"{device.platform}:{device.id}" for device in devices]
    return keras.distribution.DataParallel(devices=names, auto_shard_dataset=False)


def place(value: np.ndarray, layout: keras.distribution.DataParallel) -> Any:
    """An array of all processes, `[n, ...]`, of the rows of this one."""
    import jax

    return jax.make_array_from_process_local_data(layout.get_data_layout(value.shape).backend_layout, value)


def total(values: np.ndarray) -> np.ndarray:
    """`processes.Processes.total`."""
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(values)).sum(axis=0)


def tells_of_a_loss(error: Exception) -> bool:
    """Whether an error is that another process does not answer any more."""
    return isinstance(error, ValueError | RuntimeError) and _LOST.search(str(error)) is not None
