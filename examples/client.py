"""Asks a TensorFlow Serving server for answers to texts, over gRPC or REST; or `powerbert serve`, over REST.

python examples/client.py --model=SST-2 "a fine film" "a dull one"
python examples/client.py --model=MRPC --rest=localhost:8501 "He left." --pair "He went away."

gRPC needs tensorflow-serving-api; REST needs nothing but Python.
"""

import argparse
import base64
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence


def ask_grpc(
    address: str, model: str, signature: str, texts: Sequence[bytes], pairs: Sequence[bytes] = (), seconds: float = 10
) -> dict[str, list]:
    """Answers by the names of the signature's outputs, a row for each text.

    Args:
        address: `host:port`.
        model: The model's name on the server.
        signature: Such as `serve_text`, or `serve_text_2x` of an elastic model.
        texts: In any encoding; what is not UTF-8 is dropped by the model.
        pairs: The second texts of a task on pairs, as many.
        seconds: To wait at most.

    Raises:
        grpc.RpcError: The server is not there, or refuses; `details()` says why.
    """
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    request.inputs["text"].CopyFrom(tf.make_tensor_proto(list(texts), tf.string))
    if pairs:
        request.inputs["text_pair"].CopyFrom(tf.make_tensor_proto(list(pairs), tf.string))
    with grpc.insecure_channel(address) as channel:
        response = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=seconds)
    return {name: tf.make_ndarray(values).tolist() for name, values in response.outputs.items()}


def rest_request(signature: str, texts: Sequence[bytes], pairs: Sequence[bytes] = ()) -> dict:
    """The body of a REST call; bytes travel as base64, so that any text does."""

    def encode(text: bytes) -> dict[str, str]:
        return {"b64": base64.b64encode(text).decode()}

    columns = {"text": texts, **({"text_pair": pairs} if pairs else {})}
    return {
        "signature_name": signature,
        "inputs": {name: [encode(text) for text in column] for name, column in columns.items()},
    }


def ask_rest(
    address: str, model: str, signature: str, texts: Sequence[bytes], pairs: Sequence[bytes] = (), seconds: float = 10
) -> dict[str, list]:
    """As `ask_grpc`, over HTTP.

    Raises:
        RuntimeError: The server refuses; the message says why.
        OSError: The server is not there.
    """
    body = json.dumps(rest_request(signature, texts, pairs)).encode()
    request = urllib.request.Request(
        f"http://{address}/v1/models/{model}:predict", body, {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=seconds) as response:
            outputs = json.load(response)["outputs"]
    except urllib.error.HTTPError as error:
        raise RuntimeError(error.read().decode(errors="replace")) from error
    return outputs if isinstance(outputs, dict) else {"scores": outputs}  # of one output, REST leaves out the name


def main() -> int:
    """Prints a line for each text."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("texts", nargs="+")
    parser.add_argument(
        "--pair", action="append", default=[], help="second text, once for each text of a task on pairs"
    )
    parser.add_argument("--model", required=True, help="its name on the server, such as SST-2")
    parser.add_argument("--signature", default="serve_text")
    parser.add_argument("--grpc", default="localhost:8500", help="host:port")
    parser.add_argument("--rest", default="", help="host:port, instead of gRPC")
    arguments = parser.parse_args()
    texts, pairs = (
        [text.encode("utf-8", "surrogateescape") for text in given] for given in (arguments.texts, arguments.pair)
    )
    ask, address = (ask_rest, arguments.rest) if arguments.rest else (ask_grpc, arguments.grpc)
    answers = ask(address, arguments.model, arguments.signature, texts, pairs)
    for row, text in enumerate(arguments.texts):
        print(text, {name: values[row] for name, values in answers.items()}, sep="\t")
    return 0


if __name__ == "__main__":
    sys.exit(main())
