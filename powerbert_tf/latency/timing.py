"""Milliseconds per batch: models run in turn, as they are deployed, on this machine."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from powerbert_tf.common.machine import processor_name, usable_cores
from powerbert_tf.common.reporting import open_bar
from powerbert_tf.models.classifier import INPUTS
from powerbert_tf.models.compilation import backend_module, compiled_once


def device_name(jit_compile: bool = False) -> str:
    """What a measurement is valid for: processor or accelerator, usable cores, backend, float type, and XLA if used."""
    backend = keras.backend.backend()
    version = backend_module().__version__
    policy = keras.config.dtype_policy().name
    xla = ", XLA" * jit_compile
    return f"{_accelerator() or processor_name()}, {usable_cores()} cores, {backend} {version}, {policy}{xla}"


def _accelerator() -> str:
    module = backend_module()
    if keras.backend.backend() == "tensorflow":
        devices = module.config.list_physical_devices("GPU")
        return module.config.experimental.get_device_details(devices[0]).get("device_name", "GPU") if devices else ""
    if keras.backend.backend() == "jax":
        device = module.devices()[0]
        return "" if device.platform == "cpu" else device.device_kind
    return module.cuda.get_device_name() if module.cuda.is_available() else ""


def _milliseconds(function: Callable[[Any], Any], inputs: Any) -> float:
    start = time.perf_counter()
    keras.ops.convert_to_numpy(function(inputs))  # waits for the result
    return 1000 * (time.perf_counter() - start)


def interleaved_times(
    functions: Mapping[str, Callable[[Any], Any]],
    inputs: Sequence[Any],
    is_enough: Callable[[int, float], bool],
    title: str,
    rounds: int,
    only: Mapping[str, Collection[int]] | None = None,
) -> dict[str, np.ndarray]:
    """Milliseconds of each function on each of its inputs in each round, `[inputs, rounds]`.

    All functions take turns in a round, so that drift and noise affect them alike. `is_enough` takes the number of
    rounds done and the seconds they took, and says whether to stop; the progress bar expects `rounds`. `only` has the
    indices of the inputs of those functions that do not take all of them.
    """
    names = list(functions)
    indices = {name: range(len(inputs)) for name in names} | dict(only or {})
    times: dict[str, dict[int, list[float]]] = {name: {index: [] for index in indices[name]} for name in names}
    total = (1 + rounds) * sum(map(len, times.values()))
    with open_bar(total=total, desc=title, unit="call", leave=False, disable=None) as bar:
        for index, given in enumerate(inputs):  # the first call, which compiles and allocates, is not measured
            for name in names:
                if index in times[name]:
                    _milliseconds(functions[name], given)
                    bar.update()
        start, done = time.perf_counter(), 0
        while not is_enough(done, time.perf_counter() - start):
            first = done % len(names)
            for index, given in enumerate(inputs):
                for name in names[first:] + names[:first]:
                    if index in times[name]:
                        times[name][index].append(_milliseconds(functions[name], given))
                        bar.update()
            done += 1
    return {name: np.array(list(of_inputs.values())) for name, of_inputs in times.items()}


def input_tensors(batch: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """A batch on the device."""
    return {name: keras.ops.convert_to_tensor(batch[name], dtype="int32") for name in INPUTS}


def measure_latency(
    models: Mapping[str, keras.Model],
    batches: Sequence[Mapping[str, np.ndarray]],
    repeats: int = 5,
    jit_compile: bool = False,
) -> dict[str, np.ndarray]:
    """Milliseconds of each compiled model on each batch, `[batches]`, median over repeats.

    Args:
        models: By name; `{"token_ids", "segment_ids", "padding_mask"}` int32 `[B, T]` -> logits `[B, C]`.
        batches: Inputs of the models.
        repeats: Measurements of each model on each batch.
        jit_compile: Whether XLA compiles the models, for each shape.

    Raises:
        ValueError: Keras runs on a backend for which nothing can be measured.
    """
    functions = {name: compiled_once(model, jit_compile) for name, model in models.items()}
    inputs = [input_tensors(batch) for batch in batches]
    times = interleaved_times(functions, inputs, lambda rounds, seconds: rounds >= repeats, "latency", repeats)
    return {name: np.median(of_model, axis=-1) for name, of_model in times.items()}
