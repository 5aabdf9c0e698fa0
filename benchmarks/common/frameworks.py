"""Keras, KerasHub and PyTorch, set up for a job: threads, device and precision."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.common.engine import Job, UnavailableError
from powerbert_tf.common.processes import use_cores


def process_environment(device: str, threads: int) -> dict[str, str]:
    """Environment variables of an engine's process; libraries read them when they are imported."""
    common = {"TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": str(threads)}
    if device == "cpu":
        return {**common, "CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}
    # All engines hold the accelerator at the same time: none may take all of its memory.
    return {**common, "TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}


def set_up_keras(job: Job, only_on: str = "", at_once: int = 1) -> Any:
    """Returns the module of the backend that `KERAS_BACKEND` names, set up for Keras.

    Args:
        job: Threads, device and precision.
        only_on: The one backend on which the engine exists; empty for any.
        at_once: Operations that TensorFlow runs at once; 0 as it likes, where it also makes the batches.

    Raises:
        UnavailableError: Another backend is set, or it sees no accelerator.
    """
    # JAX has no setting for it: its pools have as many threads as the process may use cores.
    use_cores(job.threads)
    import keras

    backend = keras.backend.backend()
    if only_on not in ("", backend):
        raise UnavailableError(f"only on {only_on}, KERAS_BACKEND is {backend}")
    if backend == "tensorflow":
        import tensorflow as module

        module.config.threading.set_intra_op_parallelism_threads(job.threads)
        module.config.threading.set_inter_op_parallelism_threads(at_once)
        seen = bool(module.config.list_physical_devices("GPU"))
    elif backend == "jax":
        import jax as module

        seen = module.default_backend() != "cpu"
    else:
        import torch as module

        module.set_num_threads(job.threads)
        seen = module.cuda.is_available()
    if job.device == "gpu" and not seen:
        raise UnavailableError(f"{backend} sees no accelerator")
    keras.config.set_dtype_policy(job.precision)
    return module


def set_up_torch(job: Job) -> tuple[Any, Any, Callable[[], Any]]:
    """Returns PyTorch, a classifier of `transformers` with the checkpoint's weights, and a context of the precision.

    Raises:
        UnavailableError: PyTorch sees no accelerator.
    """
    import torch
    import transformers

    torch.set_num_threads(job.threads)
    if job.device == "gpu" and not torch.cuda.is_available():
        raise UnavailableError("PyTorch sees no accelerator")
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    model = transformers.AutoModelForSequenceClassification.from_pretrained(job.folder, num_labels=job.num_classes)
    device = "cuda" if job.device == "gpu" else "cpu"
    half = torch.float16 if job.precision == "mixed_float16" else torch.bfloat16

    def precision():
        return torch.autocast(device, dtype=half, enabled=job.precision != "float32")

    return torch, model.to(device).eval(), precision


def torch_inputs(torch: Any, batch: Any, device: Any) -> dict[str, Any]:
    """Names a batch as `transformers` does."""
    names = {"input_ids": "token_ids", "attention_mask": "padding_mask", "token_type_ids": "segment_ids"}
    return {theirs: torch.from_numpy(batch[ours].astype("int64")).to(device) for theirs, ours in names.items()}


def keras_hub_backbone(job: Job) -> tuple[Any, list[Any]]:
    """Returns KerasHub's BERT with the checkpoint's weights, and its head: kernel `[H, C]` and bias `[C]`."""
    import keras_hub
    from safetensors.numpy import load_file

    backbone = keras_hub.models.Backbone.from_preset(job.folder)
    weights = load_file(Path(job.folder) / "model.safetensors")
    return backbone, [weights["classifier.weight"].T, weights["classifier.bias"]]


def matrix_product_peak(job: Job) -> Callable[[], float]:
    """Returns a function that measures a large float32 matrix product: multiply-adds per second."""
    set_up_keras(job)
    from keras import ops, random

    rows, columns = 2048, 3072
    left, right = random.normal((rows, columns), dtype="float32"), random.normal((columns, rows), dtype="float32")

    def measure() -> float:
        start = time.perf_counter()
        ops.convert_to_numpy(ops.matmul(left, right)[0, 0])  # waits for all of it, and moves none of it
        return rows * columns * rows / (time.perf_counter() - start)

    return measure
