"""The devices of JAX: one `keras.distribution.DataParallel` layout over those of all processes.

As in `replicas`, a copy of the model is trained and evaluated there: the model itself stays on one device, where the
chief can measure and save it alone.
"""

import collections
import contextlib
import dataclasses
import math
import os
import re
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from powerbert_tf.batches.padded_batches import Batches
from powerbert_tf.common.errors import InputError
from powerbert_tf.training.distribution.cluster import Cluster
from powerbert_tf.training.distribution.copies import BringBack, Copies, copied
from powerbert_tf.training.distribution.devices import Devices, Trainer, TrainingStep
from powerbert_tf.training.distribution.processes import Processes, num_processes, rank
from powerbert_tf.training.distribution.replicas import shares

_HEARTBEAT = 30  # seconds without a sign of life, after which a process counts as lost
_START = 300  # seconds within which all processes have to connect
# JAX raises plain ValueErrors and RuntimeErrors for a lost process; only their messages tell them from others.
_LOST = re.compile(
    r"gloo|nccl|connection (closed|reset)|unavailable|aborted|deadline.exceeded|heartbeat", re.IGNORECASE
)


def connect(cluster: Cluster) -> Processes:
    """Connects to the other processes; must come before JAX runs anything.

    Raises:
        InputError: JAX has run something before.
        RuntimeError: The others did not connect.
    """
    import jax

    # For CPUs; GPUs and TPUs have their own.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(
            cluster.addresses[0],
            len(cluster.addresses),
            cluster.rank,
            initialization_timeout=_START,
            heartbeat_timeout_seconds=_HEARTBEAT,
        )
    except RuntimeError as error:
        if "before" in str(error):
            raise InputError(f"--distribution=multi_worker: {error}") from None
        raise
    with _silent_stdout():
        _total(np.zeros(1, "float32"))
    return Processes(cluster.rank, len(cluster.addresses), _total)


@contextlib.contextmanager
def _silent_stdout() -> Iterator[None]:
    """A block in which C++ prints nothing: gloo writes to stdout, in every process, when it is first used."""
    with contextlib.ExitStack() as held:
        stdout, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
        held.callback(os.close, stdout)
        held.callback(os.close, nowhere)
        os.dup2(nowhere, 1)
        held.callback(os.dup2, stdout, 1)
        yield


def _total(values: np.ndarray) -> np.ndarray:
    """`processes.Processes.total`."""
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(values)).sum(axis=0)


def is_lost_process(error: Exception) -> bool:
    """Whether an error means that another process no longer answers."""
    return isinstance(error, ValueError | RuntimeError) and _LOST.search(str(error)) is not None


def data_parallel() -> keras.distribution.DataParallel:
    """A layout in which each device of all processes has the whole model and a share of each batch.

    Raises:
        InputError: One process has more devices than another.
    """
    import jax

    # The devices of a process stand together, as its rows of a batch do.
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    counts = collections.Counter(device.process_index for device in devices)
    if len(set(counts.values())) > 1:
        raise InputError(
            f"--distribution=multi_worker: the processes have {', '.join(map(str, counts.values()))} devices of JAX; "
            "expected the same number each."
        )
    names = [f"{device.platform}:{device.id}" for device in devices]
    return keras.distribution.DataParallel(devices=names, auto_shard_dataset=False)


class JaxDevices(Devices):
    """The devices of a layout."""

    def __init__(self, layout: keras.distribution.DataParallel):
        self.count = layout.num_model_replicas
        self._layout = layout
        self._copies = Copies()

    def trainer(self, step: TrainingStep) -> Trainer:
        return _LayoutTrainer(self._layout, step)

    def _answers(self, model, batches, batch_size, jit_compile):
        function = self._copies.function(model, self._layout.scope(), self._predicting)
        own = _of_process(batches, batch_size, self._layout)
        for at, (inputs, _) in enumerate(own):
            found = function({name: self._placed(value) for name, value in inputs.items()})
            # Each process's share stands at the beginning of its part of what was found.
            parts = zip(
                np.array_split(batches.rows(at), num_processes()), np.split(found, num_processes()), strict=True
            )
            for part, values in parts:
                yield part, values[: len(part)]

    def _placed(self, value: np.ndarray) -> Any:
        """An array of all processes, `[n, ...]`, from the rows of this one."""
        import jax

        return jax.make_array_from_process_local_data(self._layout.get_data_layout(value.shape).backend_layout, value)

    def _predicting(self, model: keras.Model) -> Callable[..., np.ndarray]:
        import jax

        everywhere = keras.distribution.TensorLayout([None, None], self._layout.device_mesh).backend_layout
        stateless = jax.jit(
            lambda weights, inputs: model.stateless_call(*weights, inputs, training=False)[0], out_shardings=everywhere
        )

        def predict(inputs):
            kinds = (model.trainable_variables, model.non_trainable_variables)
            return np.asarray(stateless([[variable.value for variable in kind] for kind in kinds], inputs))

        return predict


def _of_process(batches: Batches, batch_size: int, layout: keras.distribution.DataParallel) -> Batches:
    """This process's share of each batch, filled up so that all devices have as many rows."""
    count, devices = num_processes(), layout.num_model_replicas
    size = devices // count * math.ceil(batch_size / devices)
    return shares(batches, count, range(rank(), rank() + 1), size)


class _LayoutTrainer(Trainer):
    """Trains a copy of a model on all devices; its weights come back to the model after each epoch."""

    def __init__(self, layout: keras.distribution.DataParallel, step: TrainingStep):
        self._layout = layout
        self._batch_size = step.batch_size
        copy = copied(step.source, layout.scope())
        with layout.scope():
            super().__init__(dataclasses.replace(step, source=copy))
        self.callbacks += [_SetLayout(None), BringBack(copy, step.source)]

    def dataset(self, batches: Batches) -> Any:
        return super().dataset(_of_process(batches, self._batch_size, self._layout))

    def fit(self, batches: Batches, **kwargs: Any) -> None:
        kwargs["callbacks"].callbacks.append(_SetLayout(self._layout))
        with self._layout.scope():
            super().fit(batches, **kwargs)


class _SetLayout(keras.callbacks.Callback):
    """Sets where variables are made from now on: Keras' on all devices, those of callbacks on one."""

    def __init__(self, layout: keras.distribution.DataParallel | None):
        super().__init__()
        self._layout = layout

    def _set(self, *_: Any, **__: Any) -> None:
        keras.distribution.set_distribution(self._layout)

    on_train_begin = on_epoch_begin = on_train_batch_begin = _set
    on_train_end = on_epoch_end = on_train_batch_end = _set
