"""`--distribution`: opens the devices of a run, and brings its processes together."""

import contextlib
import os
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf

from powerbert_tf.common.errors import InputError, first_line
from powerbert_tf.common.reporting import say
from powerbert_tf.training.distribution.cluster import VARIABLE, read_cluster
from powerbert_tf.training.distribution.devices import Active, Devices
from powerbert_tf.training.distribution.jax_devices import JaxDevices, connect, data_parallel, is_lost_process
from powerbert_tf.training.distribution.processes import Processes, together, wait_for_all
from powerbert_tf.training.distribution.replicas import Replicas
from powerbert_tf.training.settings import DISTRIBUTIONS

LOST_EXIT_CODE = os.EX_UNAVAILABLE  # 69

# What TensorFlow raises when another process no longer answers.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
)

_Opened = tuple[Devices, str, Processes | None]  # devices, what they are, and processes that share them

_came_together = False


class ProcessLostError(RuntimeError):
    """Another process of the run has ended, or cannot be reached."""


def came_together() -> bool:
    """Whether this process has run together with others."""
    return _came_together


@contextlib.contextmanager
def distributing(name: str, tpu: str = "") -> Iterator[None]:
    """A block in which models are trained and evaluated on all devices of one of `DISTRIBUTIONS`.

    `"multi_worker"` must come before TensorFlow or JAX run anything. Output of processes other than the chief is
    discarded. A block within one of the same distribution changes nothing.

    Args:
        name: `"mirrored"` for all devices of this machine, `"multi_worker"` for those of all machines in `TF_CONFIG`,
            `"tpu"` for all cores of a TPU.
        tpu: Name or address of the TPU; empty for that of this machine.

    Raises:
        InputError: There is no such device, or `TF_CONFIG` or the backend do not support it.
        ProcessLostError: Another process ended before the block did.
    """
    if name not in DISTRIBUTIONS:
        raise InputError(f"--distribution={name}: expected one of {', '.join(DISTRIBUTIONS)}.")
    if name in ("none", Active.distribution):
        yield
        return
    backend = keras.backend.backend()
    if backend == "jax":
        devices, kind, group = _on_jax(name)
    elif backend == "tensorflow":
        devices, kind, group = {"mirrored": _mirrored, "multi_worker": _multi_worker, "tpu": lambda: _tpu(tpu)}[name]()
    else:
        raise InputError(f"--distribution={name}: KERAS_BACKEND is {backend}; expected tensorflow or jax.")
    Active.distribution, Active.devices = name, devices
    try:
        with _in_step(group) if group else contextlib.nullcontext():
            alone = "; a single device gives the same as without it, only slower" if devices.count == 1 else ""
            say(f"distribution: {devices.count} {kind}{f' of {group.count} processes' if group else ''}{alone}")
            yield
    finally:
        Active.distribution, Active.devices = "none", None


@contextlib.contextmanager
def _in_step(group: Processes) -> Iterator[None]:
    """A block that connected processes run in step; only the chief prints."""
    global _came_together
    _came_together = True
    with together(group), contextlib.ExitStack() as quiet:
        if group.rank:
            nowhere = quiet.enter_context(open(os.devnull, "w", encoding="utf-8"))
            quiet.enter_context(contextlib.redirect_stdout(nowhere))
            quiet.enter_context(contextlib.redirect_stderr(nowhere))
        try:
            yield
            wait_for_all()  # one that left early would look lost
        except Exception as error:
            if isinstance(error, _LOST) or (keras.backend.backend() == "jax" and is_lost_process(error)):
                raise ProcessLostError(f"another process ended, or cannot be reached ({first_line(error)})") from error
            raise


def _apart(error: Exception) -> ProcessLostError:
    return ProcessLostError(f"the processes of {VARIABLE} did not come together ({first_line(error)})")


def _mirrored() -> _Opened:
    # Left to itself, the strategy takes GPUs or one CPU; CPUs may be split into logical devices.
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    strategy = tf.distribute.MirroredStrategy([device.name for device in devices])
    return Replicas(strategy), devices[0].device_type, None


def _tpu(name: str) -> _Opened:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name)
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        strategy = tf.distribute.TPUStrategy(resolver)
    except (ValueError, RuntimeError, OSError, tf.errors.OpError) as error:
        raise InputError(
            f"--distribution=tpu, --tpu={name!r}: no TPU ({first_line(error)}); expected its name or address, or "
            "nothing for that of this machine."
        ) from None
    return Replicas(strategy), "TPU cores", None


def _multi_worker() -> _Opened:
    cluster = read_cluster(os.environ)
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as error:
        raise InputError(f"--distribution=multi_worker: {error}") from None
    except (tf.errors.OpError, ValueError) as error:
        raise _apart(error) from error
    group = Processes(cluster.rank, len(cluster.addresses), _totalling(strategy))
    return Replicas(strategy), "devices", group


def _totalling(strategy: tf.distribute.Strategy) -> Callable[[np.ndarray], np.ndarray]:
    """`Processes.total`."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)], autograph=False)
    def summed(values):
        def on_replica(values):
            context = tf.distribute.get_replica_context()
            return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(values))  # which has a device

        return strategy.experimental_local_results(strategy.run(on_replica, args=(values,)))[0]

    # All devices of a process add the same.
    devices = len(strategy.extended.worker_devices)
    return lambda values: summed(tf.constant(values)).numpy() / devices


def _on_jax(name: str) -> _Opened:
    group = None
    if name == "multi_worker":
        cluster = read_cluster(os.environ)
        try:
            group = connect(cluster)
        except RuntimeError as error:
            raise _apart(error) from error
    if name == "tpu" and not keras.distribution.list_devices("tpu"):
        seen = ", ".join(keras.distribution.list_devices())
        raise InputError(f"--distribution=tpu: JAX sees no TPU, but {seen}; expected mirrored for these.")
    return JaxDevices(data_parallel()), "devices of JAX", group
