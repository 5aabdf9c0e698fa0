"""Models compiled for the shapes of their batches, and a record of what that takes.

There are two ways to run a model. The *plain graph* is traced once and takes any shape; it is what TF Serving
runs by default. *XLA* compiles a program for each shape, which takes seconds, so that shapes have to be few: see
`powerbert_tf.batches.buckets`. Either is built on a first call, which is recorded and never part of a measurement.
"""

import contextlib
import dataclasses
import functools
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras

from powerbert_tf.models.classifier import INPUTS


@dataclasses.dataclass(eq=False)
class Compilations:
    """What was built.

    Attributes:
        count: Programs: one a model and shape with XLA, one a model in the plain graph.
        seconds: Of the first calls that built them, their run included.
    """

    count: int = 0
    seconds: float = 0.0


_records: list[Compilations] = []


@contextlib.contextmanager
def recorded_compilations() -> Iterator[Compilations]:
    """Records what is built in the block; blocks may be nested."""
    record = Compilations()
    _records.append(record)
    try:
        yield record
    finally:
        _records.remove(record)


@contextlib.contextmanager
def compiling() -> Iterator[None]:
    """A block that builds one program and waits for its result."""
    start = time.perf_counter()
    yield
    for record in _records:
        record.count += 1
        record.seconds += time.perf_counter() - start


def backend_module() -> Any:
    """TensorFlow, JAX or PyTorch, whichever Keras runs on.

    Raises:
        ValueError: It is none of them.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as module
    elif backend == "jax":
        import jax as module
    elif backend == "torch":
        import torch as module
    else:
        raise ValueError(f"KERAS_BACKEND={backend}; expected tensorflow, jax or torch, with which latency is measured.")
    return module


class CompiledModel:
    """A model as it is deployed: `{"token_ids", "segment_ids", "padding_mask"}` int32 `[B, T]` -> one tensor.

    Attributes:
        function: What is called; on TensorFlow a `tf.function`.

    Args:
        function: The model's.
        per_shape: Whether a program is built for each shape, and not one for all.
    """

    def __init__(self, function: Callable[[Mapping[str, Any]], Any], per_shape: bool):
        self.function = function
        self._per_shape = per_shape
        self._built: set[tuple[int, ...]] = set()

    def __call__(self, inputs: Mapping[str, Any]) -> Any:
        shape = tuple(inputs[INPUTS[0]].shape) if self._per_shape else ()
        if shape in self._built:
            return self.function(inputs)
        with compiling():
            output = self.function(inputs)
            keras.ops.convert_to_numpy(output)  # waits for the result
        self._built.add(shape)
        return output


def compiled(model: keras.Model, jit_compile: bool = False, reads_anew: bool = False) -> CompiledModel:
    """The model without training, compiled where the backend can.

    Args:
        model: `{"token_ids", "segment_ids", "padding_mask"}` int32 `[B, T]` -> one tensor.
        jit_compile: Whether by XLA. JAX knows no other way; PyTorch has none.
        reads_anew: On JAX, whether each call takes the weights as they are then, which costs some of its time, and not
            those of now; elsewhere it does so anyway.

    Raises:
        ValueError: The backend is none of TensorFlow, JAX and PyTorch; or PyTorch, and `jit_compile` is given.
    """
    module = backend_module()
    if keras.backend.backend() == "tensorflow":
        any_length = {name: module.TensorSpec([None, None], module.int32, name=name) for name in INPUTS}
        # A partial has no code: TensorFlow counts traces by code, and would warn of several models.
        infer = functools.partial(model, training=False)
        # One trace, of which XLA compiles each shape by itself.
        function = module.function(infer, input_signature=[any_length], autograph=False, jit_compile=jit_compile)
        return CompiledModel(function, per_shape=jit_compile)
    if keras.backend.backend() == "jax":
        # Weights are arguments: as constants they would be compiled in.
        def read():
            return [
                [variable.value for variable in variables]
                for variables in (model.trainable_variables, model.non_trainable_variables)
            ]

        weights = None if reads_anew else read()
        stateless = module.jit(lambda weights, inputs: model.stateless_call(*weights, inputs, training=False)[0])
        return CompiledModel(lambda inputs: stateless(weights or read(), inputs), per_shape=True)
    if jit_compile:
        raise ValueError("jit_compile=True; expected False on PyTorch, which has no XLA here.")

    def without_gradient(inputs):
        with module.no_grad():
            return model(inputs, training=False)

    return CompiledModel(without_gradient, per_shape=False)


class _WeakModel:
    """A model that its own compiled function does not keep alive; `weakref.proxy` has no signature to trace."""

    def __init__(self, model):
        self._reference = weakref.ref(model)

    def __call__(self, inputs, training=False):
        return self._reference()(inputs, training=training)

    def __getattr__(self, name):
        return getattr(self._reference(), name)


_kept: weakref.WeakKeyDictionary[Any, dict[bool, CompiledModel]] = weakref.WeakKeyDictionary()


def compiled_once(model: keras.Model, jit_compile: bool = False) -> CompiledModel:
    """`compiled`, kept as long as the model is, so that no shape is compiled twice; it reads weights anew."""
    ways = _kept.setdefault(model, {})
    if jit_compile not in ways:
        ways[jit_compile] = compiled(_WeakModel(model), jit_compile, reads_anew=True)
    return ways[jit_compile]
