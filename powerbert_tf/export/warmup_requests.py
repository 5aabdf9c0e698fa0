"""Requests that TensorFlow Serving answers to itself before it serves a version: no user waits for the first one."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from powerbert_tf.export.expectations import Expectations

FILE = Path("assets.extra") / "tf_serving_warmup_requests"
_BATCH_SIZES = (1, 8)
_LARGEST_COMPILED = 32
_MOST_REQUESTS = 1000  # TensorFlow Serving refuses files with more


def write_warmup_requests(
    version: Path,
    expected: Expectations,
    signatures: Mapping[str, object],
    lengths: tuple[int, ...] = (),
    batch_sizes: tuple[int, ...] = (),
) -> int:
    """Writes the file into the folder of a version.

    Args:
        version: Folder of the version.
        expected: Its usual requests, as texts and as ids, are what is sent.
        signatures: By name; each is warmed up.
        lengths: Lengths that the model is compiled for; each of them is sent, too.
        batch_sizes: Batches that it is compiled for; those up to 32 are sent.

    Returns:
        The number of requests.
    """
    requests: list[tuple[str, Mapping[str, tf.Tensor]]] = []
    for signature in signatures:
        for size in _BATCH_SIZES:
            if size <= (expected.batch_size or size):
                rows = [row % expected.num_samples for row in range(size)]
                requests.append((signature, expected.request(signature, rows)))
        if signature.startswith("serving_default"):  # the other signatures call the same compiled function
            sizes = [size for size in batch_sizes if size <= _LARGEST_COMPILED] or list(batch_sizes[:1])
            requests += [(signature, _of_shape(expected, size, length)) for length in lengths for size in sizes or (1,)]
    path = version / FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as file:
        for signature, inputs in requests[:_MOST_REQUESTS]:
            file.write(prediction_log(expected.task, signature, inputs).SerializeToString())
    return min(len(requests), _MOST_REQUESTS)


def prediction_log(model: str, signature: str, inputs: Mapping[str, tf.Tensor]) -> prediction_log_pb2.PredictionLog:
    """A request as TensorFlow Serving logs it."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    for name, values in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
    return prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))


def _of_shape(expected: Expectations, batch: int, length: int) -> dict[str, tf.Tensor]:
    ones = tf.constant(expected.with_options(np.ones([batch * expected.choices, length], "int32")))
    zeros = 0 * ones
    return {"token_ids": zeros, "segment_ids": zeros, "padding_mask": ones}
