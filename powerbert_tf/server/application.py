"""The HTTP paths of the server: how each answers, and the errors for requests that it cannot answer."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from powerbert_tf.common.errors import first_line
from powerbert_tf.common.reporting import say
from powerbert_tf.server.answers import Answer, count_tokens
from powerbert_tf.server.batching import Batcher, QueueFullError
from powerbert_tf.server.metrics import CONTENT_TYPE, ServerMetrics
from powerbert_tf.server.request_bodies import RequestError, read_body, read_columns, read_rows
from powerbert_tf.server.settings import ServerSettings
from powerbert_tf.server.versions import Versions

PREDICT, HEALTH, METRICS, COLUMNS = "/predict", "/health", "/metrics", "/v1/models/{name}:predict"
_PATHS = f"POST {PREDICT}, GET {HEALTH} or GET {METRICS}"
_DRAINED = 16  # times the largest body, read and dropped so that the client reads why it is refused
_CLOSE = {"Connection": "close"}


class _GoneError(Exception):
    """The client has left."""


class Application:
    """Answers requests with the model of `versions`.

    Attributes:
        asgi: The application for a server of ASGI.

    Args:
        versions: The model.
        settings: Limits.
    """

    def __init__(self, versions: Versions, settings: ServerSettings):
        self._versions = versions
        self._settings = settings
        self._metrics = ServerMetrics(lambda: self._batcher.count_waiting(), lambda: versions.model.version)
        self.asgi = Starlette(
            routes=[
                Route(PREDICT, self._counted(PREDICT, self._predict), methods=["POST"]),
                Route(COLUMNS, self._counted(COLUMNS, self._predict_columns), methods=["POST"]),
                Route(HEALTH, self._health),
                Route(METRICS, self._show_metrics),
            ],
            exception_handlers={HTTPException: self._refuse_path},
            lifespan=self._lifespan,
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        settings = self._settings
        self._batcher = Batcher(
            self._versions.answer,
            lambda: min(settings.batch_size, self._versions.model.most_rows or settings.batch_size),
            settings.max_wait_ms / 1000,
            settings.queue,
            self._metrics,
        )
        tasks = [
            asyncio.create_task(self._batcher.run()),
            asyncio.create_task(self._versions.watch(settings.poll_seconds, self._batcher.in_thread)),
        ]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _counted(
        self, path: str, handle: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """Wraps a handler: whatever it raises becomes one sentence, and the request is counted."""

        async def respond(request: Request) -> Response:
            began = time.monotonic()
            try:
                response = await handle(request)
            except RequestError as error:
                response = _refusal(error.status, str(error), _CLOSE if error.status in (408, 413) else {})
            except QueueFullError:
                busy = f"{self._settings.queue} texts wait already; try again in a second."
                response = _refusal(503, busy, {"Retry-After": "1"})
            except (_GoneError, ClientDisconnect):
                response = Response(status_code=499)  # nobody reads it; counted under nginx's number
            except Exception as error:  # nothing that a client sends may end the server
                say(f"{path}: {type(error).__name__}: {first_line(error)}", is_warning=True)
                response = _refusal(500, "the server failed to answer; its log says why.", {})
            self._metrics.request(path, response.status_code, time.monotonic() - began)
            return response

        return respond

    async def _predict(self, request: Request) -> Response:
        content = read_body(await self._body(request))
        answers = await self._answers(request, read_rows(content, self._versions.model.inputs, self._settings))
        return JSONResponse({"answers": [answer.describe() for answer in answers], "version": answers[-1].version})

    async def _predict_columns(self, request: Request) -> Response:
        model = self._versions.model
        if request.path_params["name"] != model.name:
            raise RequestError(404, f"no such model; expected {model.name}.")
        content = read_body(await self._body(request))
        answers = await self._answers(request, read_columns(content, model.inputs, self._settings))
        columns = {name: [_plain(answer.outputs[name]) for answer in answers] for name in answers[0].outputs}
        return JSONResponse({"outputs": columns if len(columns) > 1 else next(iter(columns.values()))})

    async def _answers(self, request: Request, rows: list) -> list[Answer]:
        """Waits for the answers, as long as the client does."""
        most = self._versions.model.max_tokens
        answers = asyncio.ensure_future(self._batcher.submit([(row, count_tokens(row, most)) for row in rows]))
        gone = asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait({answers, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not answers.done():
                raise _GoneError
            return answers.result()
        finally:
            answers.cancel()
            gone.cancel()

    async def _body(self, request: Request) -> bytes:
        """Reads a body of at most so many bytes in at most so many seconds."""
        if request.headers.get("content-encoding", "identity") != "identity":
            raise RequestError(415, "the body is compressed; expected JSON as it is.")
        most = 1024 * self._settings.max_body_kib
        body, size = bytearray(), 0
        try:
            async with asyncio.timeout(self._settings.request_seconds):
                async for part in request.stream():
                    size += len(part)
                    if size <= most:
                        body += part
                    elif size > _DRAINED * most:
                        break
        except TimeoutError:
            raise RequestError(
                408, f"the body did not arrive within {self._settings.request_seconds:g} seconds; send it faster."
            ) from None
        if size > most:
            raise RequestError(413, f"the body has more than {most} bytes; send fewer texts in a request.")
        return bytes(body)

    async def _health(self, _: Request) -> Response:
        model = self._versions.model
        return JSONResponse(
            {"status": "ok", "model": model.name, "version": model.version, "inputs": list(model.inputs)}
        )

    async def _show_metrics(self, _: Request) -> Response:
        return Response(self._metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    async def _refuse_path(self, request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        what = f"{request.method} is not supported here" if status == 405 else "no such path"
        self._metrics.request("other", status, 0)
        return _refusal(status, f"{what}; expected {_PATHS}.", getattr(error, "headers", None) or {})


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _refusal(status: int, message: str, headers: Mapping[str, str]) -> Response:
    return JSONResponse({"error": message}, status, headers)


def _plain(value: Any) -> Any:
    """A value of JSON: strings of TensorFlow are bytes."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
