"""Models compiled for the shapes of their batches, and a record of the time that this takes.

There are two ways to run a model. The *plain graph* is traced once and takes any shape; TF Serving runs it by default.
*XLA* compiles a program for each shape, which takes seconds, so there must be few shapes: see
`powerbert_tf.batches.buckets`. A first call builds the program; it is recorded, and never measured.
"""

import contextlib
import dataclasses
import functools
import importlib
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras

from powerbert_tf.models.classifier import INPUTS


@dataclasses.dataclass(eq=False)
class Compilations:
    """A record of what was built.

    Attributes:
        count: Programs: one per model and shape with XLA, one per model in the plain graph.
        seconds: Time of the first calls, which build a program and run it.
    """

    count: int = 0
    seconds: float = 0.0


_records: list[Compilations] = []


@contextlib.contextmanager
def recorded_compilations() -> Iterator[Compilations]:
    """Records the programs that are built in the block. Blocks may be nested."""
    record = Compilations()
    _records.append(record)
    try:
        yield record
    finally:
        _records.remove(record)


@contextlib.contextmanager
def compiling() -> Iterator[None]:
    """Wraps a block that builds one program and waits for its result."""
    start = time.perf_counter()
    yield
    for record in _records:
        record.count += 1
        record.seconds += time.perf_counter() - start


def backend_module() -> Any:
    """The module of Keras' backend.

    Raises:
        ValueError: The backend is none of TensorFlow, JAX and PyTorch.
    """
    backend = keras.backend.backend()
    if backend not in ("tensorflow", "jax", "torch"):
        raise ValueError(f"KERAS_BACKEND={backend}; expected tensorflow, jax or torch, with which latency is measured.")
    return importlib.import_module(backend)


class CompiledModel:
    """A model as it is deployed: `{"token_ids", "segment_ids", "padding_mask"}` int32 `[B, T]` -> one tensor.

    Args:
        function: The compiled function; on TensorFlow a `tf.function`.
        per_shape: Whether each shape has a program of its own.
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
    """Compiles a model for inference, if the backend can.

    Args:
        model: `{"token_ids", "segment_ids", "padding_mask"}` int32 `[B, T]` -> one tensor.
        jit_compile: Whether to use XLA. JAX always does; PyTorch never does.
        reads_anew: On JAX, whether each call reads the weights again, which takes time, or they are read once, now. The
            other backends always use the present weights.

    Raises:
        ValueError: The backend is none of TensorFlow, JAX and PyTorch, or is PyTorch and `jit_compile` is given.
    """
    module = backend_module()
    if keras.backend.backend() == "tensorflow":
        any_length = {name: module.TensorSpec([None, None], module.int32, name=name) for name in INPUTS}
        # TensorFlow counts traces by code, and warns about several models; a partial has no code.
        infer = functools.partial(model, training=False)
        # One trace; XLA compiles it for each shape.
        function = module.function(infer, input_signature=[any_length], autograph=False, jit_compile=jit_compile)
        return CompiledModel(function, per_shape=jit_compile)
    if keras.backend.backend() == "jax":
        # Weights are arguments, so that they are not compiled in as constants.
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
    """A model that its compiled function does not keep alive; `weakref.proxy` has no signature to trace."""

    def __init__(self, model):
        self._reference = weakref.ref(model)

    def __call__(self, inputs, training=False):
        return self._reference()(inputs, training=training)

    def __getattr__(self, name):
        return getattr(self._reference(), name)


_kept: weakref.WeakKeyDictionary[Any, dict[bool, CompiledModel]] = weakref.WeakKeyDictionary()


def compiled_once(model: keras.Model, jit_compile: bool = False) -> CompiledModel:
    """`compiled` with a cache that lives as long as the model. Each call uses the present weights."""
    ways = _kept.setdefault(model, {})
    if jit_compile not in ways:
        ways[jit_compile] = compiled(_WeakModel(model), jit_compile, reads_anew=True)
    return ways[jit_compile]
