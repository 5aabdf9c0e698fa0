"""The protocol of TensorFlow Serving: warm-up requests, and Predict over gRPC and REST through the example client."""

import concurrent.futures
import http.server
import importlib.util
import json
import threading

import grpc
import numpy as np
import pytest
import tensorflow as tf
from conftest import REPOSITORY
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2, prediction_service_pb2_grpc
from test_export import N, write
from tiny_bert import random_weights, tiny_config, write_google_checkpoint

from powerbert_tf.export.expected_answers import ExpectedAnswers
from powerbert_tf.export.serving_files import WARMUP_FILE, write_warmup_requests
from powerbert_tf.export.settings import ExportSettings


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    config = tiny_config()
    write_google_checkpoint(folder, config, random_weights(config, None))
    return write(folder, tmp_path_factory.mktemp("saved_model"))[1]


@pytest.fixture(scope="module")
def signatures(version):
    return tf.saved_model.load(str(version)).signatures


@pytest.fixture(scope="module")
def client():
    spec = importlib.util.spec_from_file_location("client", REPOSITORY / "examples" / "client.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def predict(signatures, request):
    """What the server does with a `PredictRequest`."""
    inputs = {name: tf.constant(tf.make_ndarray(values)) for name, values in request.inputs.items()}
    response = predict_pb2.PredictResponse(model_spec=request.model_spec)
    for name, values in signatures[request.model_spec.signature_name](**inputs).items():
        response.outputs[name].CopyFrom(tf.make_tensor_proto(values))
    return response


@pytest.fixture
def grpc_server(signatures):
    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request, context):  # noqa: N802 - the protocol's name
            try:
                return predict(signatures, request)
            except tf.errors.InvalidArgumentError as error:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, error.message)

    server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port("localhost:0")
    server.start()
    yield f"localhost:{port}"
    server.stop(None).wait()


@pytest.fixture
def rest_server(signatures):
    """Understands what the client sends: columns of base64."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            inputs = {
                name: tf.io.decode_base64(
                    [text["b64"].rstrip("=").replace("+", "-").replace("/", "_") for text in column]
                )
                for name, column in body["inputs"].items()
            }
            try:
                answers = signatures[body["signature_name"]](**inputs)
                outputs = {
                    name: values.numpy().astype(str).tolist() if values.dtype == tf.string else values.numpy().tolist()
                    for name, values in answers.items()
                }
                status, content = 200, {"outputs": outputs}
            except tf.errors.InvalidArgumentError as error:
                status, content = 400, {"error": error.message}
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("localhost", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"localhost:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_the_client_gets_the_models_answers_over_grpc(client, grpc_server, version):
    expected = ExpectedAnswers.read(version)
    texts, pairs = zip(*expected.texts, strict=True)
    answers = client.ask_grpc(grpc_server, "MRPC", "serve_text", texts, pairs)
    np.testing.assert_allclose(answers["probabilities"], expected.answers[""], atol=1e-5)
    assert set(answers["label"]) <= {b"0", b"1"}
    with pytest.raises(grpc.RpcError, match=r"text and text_pair have\] \[2\] \[and\] \[1\]"):
        client.ask_grpc(grpc_server, "MRPC", "serve_text", [b"a", b"b"], [b"c"])


def test_the_client_gets_the_models_answers_over_rest(client, rest_server, version):
    expected = ExpectedAnswers.read(version)
    texts, pairs = zip(*expected.texts, strict=True)
    answers = client.ask_rest(rest_server, "MRPC", "serve_text", texts, pairs)
    np.testing.assert_allclose(answers["probabilities"], expected.answers[""], atol=1e-5)
    assert set(answers["label"]) <= {"0", "1"}
    with pytest.raises(RuntimeError, match=r"text and text_pair have\] \[2\] \[and\] \[1\]"):
        client.ask_rest(rest_server, "MRPC", "serve_text", [b"a", b"b"], [b"c"])


def warmup_requests(path):
    for record in tf.data.TFRecordDataset(str(path)):
        yield prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request


def test_warm_up_requests_are_requests_that_the_model_answers(version, signatures):
    requests = list(warmup_requests(version / WARMUP_FILE))
    assert {request.model_spec.signature_name for request in requests} == set(signatures)
    assert {request.model_spec.name for request in requests} == {"MRPC"}
    sizes = [len(next(iter(predict(signatures, request).outputs.values())).float_val or "x") for request in requests]
    assert len(sizes) == 3 * 2  # each signature with batches of 1 and of 8


def test_each_compiled_shape_is_warmed_up(version, tmp_path):
    shapes = ExportSettings(export_lengths="8", export_jit_compile=True).shapes(N)
    names = ("serving_default", "serve_text")
    expected = ExpectedAnswers.read(version)
    count = write_warmup_requests(tmp_path, expected, dict.fromkeys(names), shapes)
    requests = list(warmup_requests(tmp_path / WARMUP_FILE))
    assert count == len(requests) == 2 * 2 + 2 * 6
    sent = [
        tuple(dimension.size for dimension in request.inputs["token_ids"].tensor_shape.dim)
        for request in requests
        if "token_ids" in request.inputs
    ]
    assert {(batch, length) for batch in (1, 2, 4, 8, 16, 32) for length in (8, N)} <= set(sent)
