"""The engines that run a BERT classifier, each from the same checkpoint in Hugging Face's format."""

import functools
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

from benchmarks.common.engine import Built, Engine, Job, UnavailableError
from benchmarks.common.frameworks import keras_hub_backbone, set_up_keras, set_up_torch, torch_inputs

_INPUTS = ("token_ids", "padding_mask", "segment_ids")  # in the order that exporters are given


def _runs(run) -> Built:
    return Built(answer=run, timed=run)


def _keras(model, jit_compile: bool) -> Built:
    """A Keras model of three inputs, as it is deployed on its backend."""
    from keras import ops

    from powerbert_tf.latency.timing import input_tensors
    from powerbert_tf.models.compilation import compiled

    infer = compiled(model, jit_compile)  # one graph for all lengths on TensorFlow, as TF Serving would run it
    return _runs(lambda batch: ops.convert_to_numpy(infer(input_tensors(batch))))


def _ours(reduced: bool, jit_compile: bool) -> Callable[[Job], Built]:
    def build(job: Job) -> Built:
        set_up_keras(job, only_on="tensorflow" if jit_compile else "")
        from powerbert_tf import load_classifier

        retention = job.retention if reduced else None
        model = load_classifier(job.folder, job.num_classes, job.max_length, retention_configuration=retention)
        return _keras(model, jit_compile)

    return build


def _ours_frozen(job: Job) -> Built:
    """One graph per shape with constant weights, as a server of one shape may have it: oneDNN packs them once.

    It packs them for the first shape that it sees, and is slow at all others; hence a graph for each.
    """
    set_up_keras(job, only_on="tensorflow")
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    from powerbert_tf import load_classifier
    from powerbert_tf.latency.timing import input_tensors
    from powerbert_tf.models.compilation import compiled

    model = load_classifier(job.folder, job.num_classes, job.max_length)

    @functools.lru_cache(maxsize=1)  # each holds all weights
    def of_shape(shape):
        frozen = convert_variables_to_constants_v2(compiled(model).function.get_concrete_function())
        names = [tensor.name.split(":")[0] for tensor in frozen.inputs]
        return lambda tensors: frozen(*(tensors[name] for name in names))[0]

    def run(batch):
        tensors = input_tensors(batch)
        return of_shape(tuple(tensors["token_ids"].shape))(tensors).numpy()

    return _runs(run)


def _keras_hub(jit_compile: bool) -> Callable[[Job], Built]:
    def build(job: Job) -> Built:
        set_up_keras(job, only_on="tensorflow" if jit_compile else "")
        import keras

        backbone, head_weights = keras_hub_backbone(job)
        head = keras.layers.Dense(job.num_classes, dtype="float32")
        model = keras.Model(backbone.input, head(backbone.output["pooled_output"]))
        head.set_weights(head_weights)
        return _keras(model, jit_compile)

    return build


def _hugging_face(job: Job) -> Built:
    torch, model, precision = set_up_torch(job)

    def run(batch):
        with torch.inference_mode(), precision():
            return model(**torch_inputs(torch, batch, model.device)).logits.float().cpu().numpy()

    return _runs(run)


def _cpu_in_float32(job: Job) -> None:
    if job.device != "cpu" or job.precision != "float32":
        raise UnavailableError("only measured on the CPU, in float32")


def _as_function(torch, model):
    """The model as a function of three tensors, for exporters."""

    class Logits(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, token_ids, padding_mask, segment_ids):
            return self.model(token_ids, attention_mask=padding_mask, token_type_ids=segment_ids).logits

    return Logits()


def _example(torch):
    return tuple(torch.ones((2, 16), dtype=torch.int64) for _ in range(3))


def _onnx_runtime(job: Job) -> Built:
    _cpu_in_float32(job)
    import onnxruntime

    torch, model, _ = set_up_torch(job)
    path = Path(job.folder) / "model.onnx"
    axes = {name: {0: "batch", 1: "length"} for name in _INPUTS}
    torch.onnx.export(
        _as_function(torch, model), _example(torch), path, input_names=list(_INPUTS), dynamic_axes=axes, dynamo=False
    )
    if importlib.util.find_spec("onnxruntime.transformers") is not None:
        from onnxruntime.transformers import optimizer

        config = json.loads((Path(job.folder) / "config.json").read_text(encoding="utf-8"))
        optimized = optimizer.optimize_model(
            str(path),
            model_type="bert",
            num_heads=config["num_attention_heads"],
            hidden_size=config["hidden_size"],
            opt_level=1,
        )
        optimized.save_model_to_file(str(path))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job.threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return _runs(lambda batch: session.run(None, {name: batch[name].astype("int64") for name in _INPUTS})[0])


def _openvino(job: Job) -> Built:
    _cpu_in_float32(job)
    import openvino

    torch, model, _ = set_up_torch(job)
    converted = openvino.convert_model(
        _as_function(torch, model),
        example_input=_example(torch),
        input=[(openvino.PartialShape([-1, -1]), openvino.Type.i64)] * 3,
    )
    options = {"INFERENCE_NUM_THREADS": job.threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(converted, "CPU", options)
    return _runs(lambda batch: compiled([batch[name].astype("int64") for name in _INPUTS])[0])


ENGINES = {
    "ours, dense": Engine(("keras",), _ours(False, False), peer=False),
    "ours, dense, XLA": Engine(("keras",), _ours(False, True), peer=False),
    "ours, dense, frozen": Engine(("keras", "tensorflow"), _ours_frozen, peer=False),
    "ours, reduced": Engine(("keras",), _ours(True, False), peer=False, reduced=True),
    "ours, reduced, XLA": Engine(("keras",), _ours(True, True), peer=False, reduced=True),
    "KerasHub": Engine(("keras_hub",), _keras_hub(False)),
    "KerasHub, XLA": Engine(("keras_hub",), _keras_hub(True)),
    "Hugging Face, PyTorch": Engine(("transformers", "torch"), _hugging_face),
    "ONNX Runtime": Engine(("onnxruntime", "onnx", "transformers", "torch"), _onnx_runtime),
    "OpenVINO": Engine(("openvino", "transformers", "torch"), _openvino),
}
