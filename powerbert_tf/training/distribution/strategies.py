"""Many devices and many processes, by existing engines: `tf.distribute`, and on JAX `keras.distribution`."""

import contextlib
import os
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf

from powerbert_tf.common.errors import InputError, first_line
from powerbert_tf.common.reporting import say
from powerbert_tf.common.termination import agreeing
from powerbert_tf.training.distribution.cluster import VARIABLE, Cluster, read_cluster
from powerbert_tf.training.distribution.jax_processes import all_devices, connect, tells_of_a_loss, total
from powerbert_tf.training.distribution.processes import Processes, num_processes, together, wait_for_all

DISTRIBUTIONS = ("none", "mirrored", "multi_worker", "tpu")
LOST_EXIT_CODE = os.EX_UNAVAILABLE  # 69

# What TensorFlow raises where another process does not answer any more.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
)


class ProcessLostError(RuntimeError):
    """Another process of the run has ended, or cannot be reached."""


class _Now:
    strategy: tf.distribute.Strategy | None = None
    layout: keras.distribution.DataParallel | None = None
    name = "none"
    came_together = False


def came_together() -> bool:
    """Whether this process has run together with others."""
    return _Now.came_together


def active_strategy() -> tf.distribute.Strategy | None:
    """TensorFlow's strategy for what is being done; None for one device, and where the chief does it alone."""
    return None if _chief_is_alone() else _Now.strategy


def active_layout() -> keras.distribution.DataParallel | None:
    """The same of JAX."""
    return None if _chief_is_alone() else _Now.layout


def _chief_is_alone() -> bool:
    return _Now.name == "multi_worker" and num_processes() == 1


def num_replicas() -> int:
    """Devices, of all processes, that share a batch."""
    if _Now.layout is not None:
        return _Now.layout.num_model_replicas
    return 1 if _Now.strategy is None else _Now.strategy.num_replicas_in_sync


@contextlib.contextmanager
def distributing(name: str, tpu: str = "") -> Iterator[None]:
    """A block in which models are trained and evaluated on all devices of one of `DISTRIBUTIONS`.

    `"multi_worker"` must come before anything of TensorFlow or JAX is run. What processes other than the chief print
    goes nowhere. A block within one of the same distribution changes nothing.

    Args:
        name: `"mirrored"` for all devices of this machine, `"multi_worker"` for those of all machines in `TF_CONFIG`,
            `"tpu"` for all cores of a TPU.
        tpu: Name or address of the TPU; empty for that of this machine.

    Raises:
        InputError: There is no such device, or `TF_CONFIG` or the backend are not fit for it.
        ProcessLostError: Another process ended before the block did.
    """
    if name not in DISTRIBUTIONS:
        raise InputError(f"--distribution={name}: expected one of {', '.join(DISTRIBUTIONS)}.")
    if name in ("none", _Now.name):
        yield
        return
    backend = keras.backend.backend()
    if backend == "jax":
        opened = _on_jax(name)
    elif backend == "tensorflow":
        opened = {"mirrored": _mirrored, "multi_worker": _multi_worker, "tpu": lambda: _tpu(tpu)}[name]()
    else:
        raise InputError(f"--distribution={name}: KERAS_BACKEND is {backend}; expected tensorflow or jax.")
    with opened:
        _Now.name = name
        try:
            yield
        finally:
            _Now.name = "none"


def check_batch_size(batch_size: int) -> None:
    """Checks that each device has something to do.

    Args:
        batch_size: Of all devices together.

    Raises:
        InputError: It has not.
    """
    if batch_size < num_replicas():
        raise InputError(
            f"--batch_size={batch_size}: less than the {num_replicas()} devices of --distribution={_Now.name}, which "
            f"share each batch; expected at least {num_replicas()}, or fewer devices."
        )


@contextlib.contextmanager
def _with(strategy: tf.distribute.Strategy) -> Iterator[None]:
    _Now.strategy = strategy
    try:
        yield
    finally:
        _Now.strategy = None


def _tell(devices: int, what: str) -> None:
    alone = "; one device alone: as without it, and slower" if devices == 1 else ""
    say(f"distribution: {devices} {what}{alone}")


@contextlib.contextmanager
def _mirrored() -> Iterator[None]:
    # Left to itself, the strategy takes GPUs or one CPU; CPUs may be split into logical devices.
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    _tell(len(devices), devices[0].device_type)
    with _with(tf.distribute.MirroredStrategy([device.name for device in devices])):
        yield


@contextlib.contextmanager
def _tpu(name: str) -> Iterator[None]:
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
    _tell(strategy.num_replicas_in_sync, "TPU cores")
    with _with(strategy):
        yield


@contextlib.contextmanager
def _multi_worker() -> Iterator[None]:
    cluster = read_cluster(os.environ)
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as error:
        raise InputError(f"--distribution=multi_worker: {error}") from None
    except (tf.errors.OpError, ValueError) as error:
        raise _apart(error) from error
    group = Processes(cluster.rank, len(cluster.addresses), _totalling(strategy))
    with _with(strategy), _in_step(group):
        _tell(strategy.num_replicas_in_sync, f"devices of {group.count} processes")
        yield


@contextlib.contextmanager
def _in_step(group: Processes) -> Iterator[None]:
    """A block that processes which have come together run in step; the chief alone speaks."""
    _Now.came_together = True
    with together(group), contextlib.ExitStack() as quiet:
        if group.rank:
            nowhere = quiet.enter_context(open(os.devnull, "w", encoding="utf-8"))
            quiet.enter_context(contextlib.redirect_stdout(nowhere))
            quiet.enter_context(contextlib.redirect_stderr(nowhere))
        try:
            with agreeing():
                yield
            wait_for_all()  # one that left early would look lost
        except Exception as error:
            if not isinstance(error, _LOST) and not (_Now.layout and tells_of_a_loss(error)):
                raise
            raise ProcessLostError(f"another process ended, or cannot be reached ({first_line(error)})") from error


def _apart(error: Exception) -> ProcessLostError:
    return ProcessLostError(f"the processes of {VARIABLE} did not come together ({first_line(error)})")


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


@contextlib.contextmanager
def _on_jax(name: str) -> Iterator[None]:
    group = _connected(read_cluster(os.environ)) if name == "multi_worker" else None
    if name == "tpu" and not keras.distribution.list_devices("tpu"):
        seen = ", ".join(keras.distribution.list_devices())
        raise InputError(f"--distribution=tpu: JAX sees no TPU, but {seen}; expected mirrored for these.")
    _Now.layout = all_devices()
    try:
        with _in_step(group) if group else contextlib.nullcontext():
            _tell(num_replicas(), f"devices of JAX, of {group.count} processes" if group else "devices of JAX")
            yield
    finally:
        _Now.layout = None


def _connected(cluster: Cluster) -> Processes:
    try:
        connect(cluster)
    except RuntimeError as error:
        raise _apart(error) from error
    return Processes(cluster.rank, len(cluster.addresses), total)
