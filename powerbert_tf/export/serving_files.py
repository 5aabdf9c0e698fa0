"""Files that TensorFlow Serving reads: `model.config`, `batching.config`, and the warm-up requests of a version."""

from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from powerbert_tf.common.files import replacing
from powerbert_tf.export.expected_answers import IDS, ExpectedAnswers
from powerbert_tf.export.settings import ServingShapes

MODEL_CONFIG, BATCHING_CONFIG = "model.config", "batching.config"
WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"
_LARGEST_BATCH = 32  # that the server makes, or that is compiled at warm-up
_WARMUP_BATCHES = (1, 8)
_MOST_REQUESTS = 1000  # TensorFlow Serving rejects files with more


def write_server_files(folder: Path, name: str, shapes: ServingShapes) -> None:
    """Writes `model.config` and `batching.config` beside the versions; each file appears whole.

    The folder is expected to be mounted at `/models/<name>`, where `name` is the name of the model in requests.
    """
    model = f"""# --model_config_file=/models/{name}/{MODEL_CONFIG}
model_config_list {{
  config {{
    name: "{name}"
    base_path: "/models/{name}"
    model_platform: "tensorflow"
    # The newest version is served. To roll back, name another one:
    # model_version_policy {{ specific {{ versions: 1 }} }}
  }}
}}
"""
    largest = shapes.batch_size or _LARGEST_BATCH
    allowed = "".join(f"allowed_batch_sizes: {size}\n" for size in shapes.batch_sizes if size <= largest)
    batching = f"""# --enable_batching --batching_parameters_file=/models/{name}/{BATCHING_CONFIG}
max_batch_size {{ value: {largest} }}
batch_timeout_micros {{ value: 2000 }}
max_enqueued_batches {{ value: 100 }}
# Keep this off: the server pads with the first element of a tensor, which would fill a padding_mask with ones and give
# wrong answers without an error. Texts need no padding; requests of ids share a batch only if they have one length.
pad_variable_length_inputs: false
{allowed}"""
    for file, content in ((MODEL_CONFIG, model), (BATCHING_CONFIG, batching)):
        with replacing(folder / file) as partial:
            partial.write_text(content, encoding="utf-8")


def write_warmup_requests(
    version: Path, expected: ExpectedAnswers, signatures: Mapping[str, object], shapes: ServingShapes
) -> int:
    """Writes requests that TensorFlow Serving answers before it serves a version, so that no user waits for the first.

    Args:
        version: Folder of the version.
        expected: Its usual requests are sent, as texts and as ids.
        signatures: Signatures by name; each of them is warmed up.
        shapes: Each compiled length is sent, in each compiled batch of up to 32.

    Returns:
        The number of requests.
    """
    requests: list[tuple[str, Mapping[str, tf.Tensor]]] = []
    for signature in signatures:
        for size in filter(expected.fits, _WARMUP_BATCHES):
            rows = [row % expected.num_samples for row in range(size)]
            requests.append((signature, expected.request(signature, rows)))
        if signature.startswith(IDS):  # the other signatures call the same compiled function
            sizes = [size for size in shapes.batch_sizes if size <= _LARGEST_BATCH] or [*shapes.batch_sizes[:1], 1][:1]
            requests += [(signature, expected.blank_request(size, n)) for n in shapes.lengths for size in sizes]
    path = version / WARMUP_FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as file:
        for signature, inputs in requests[:_MOST_REQUESTS]:
            file.write(_prediction_log(expected.task, signature, inputs).SerializeToString())
    return min(len(requests), _MOST_REQUESTS)


def _prediction_log(model: str, signature: str, inputs: Mapping[str, tf.Tensor]) -> prediction_log_pb2.PredictionLog:
    """A request in the format of TensorFlow Serving's log."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    for name, values in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
    return prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
