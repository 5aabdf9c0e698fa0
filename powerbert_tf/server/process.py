"""The process of the server: it listens, cuts off clients that never finish a request, and drains when it stops."""

import asyncio
import logging
import os
import signal
import socket
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from powerbert_tf.common.errors import InputError
from powerbert_tf.common.reporting import say
from powerbert_tf.server.application import Application
from powerbert_tf.server.settings import ServerSettings
from powerbert_tf.server.versions import Versions

_KEEP_ALIVE_SECONDS = 60  # that a connection may be idle; as long as most proxies keep theirs


def _protocol(head_seconds: float) -> type[H11Protocol]:
    """The protocol of connections that are closed if the head of a request takes too long, or the rest of one refused.

    uvicorn closes a connection that is idle after an answer, but waits for ever for what has begun.
    """

    class Protocol(H11Protocol):
        _waited: Any = False  # for a head at the look before: the request before that head, or None
        _next_look: asyncio.TimerHandle

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._next_look = self.loop.call_later(head_seconds, self._look)

        def connection_lost(self, exc: Exception | None) -> None:
            self._next_look.cancel()
            super().connection_lost(exc)

        def _look(self) -> None:
            waits = self.cycle is None or self.cycle.response_complete
            if waits and self._waited is self.cycle and not self._is_idle():
                self.transport.abort()
                return
            self._waited = self.cycle if waits else False
            self._next_look = self.loop.call_later(head_seconds, self._look)

        def _is_idle(self) -> bool:
            """Whether all of the requests so far are answered, and nothing of the next one has come."""
            return self.cycle is not None and self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]

    return Protocol


def serve(listening: socket.socket, versions: Versions, settings: ServerSettings) -> None:
    """Answers until SIGTERM or Ctrl-C; requests in flight are answered first.

    Args:
        listening: See `listen`.
        versions: What answers.
        settings: Flags.
    """
    server = make_server(versions, settings)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # what clients do wrong is counted
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # uvicorn has its own, and raises the signal again when all is answered
    host, port = listening.getsockname()[:2]
    say(f"serving {versions.path} on http://{f'[{host}]' if ':' in host else host}:{port}; Ctrl-C stops")
    server.run(sockets=[listening])
    say("stopped")


def make_server(versions: Versions, settings: ServerSettings) -> uvicorn.Server:
    """Returns a server that is ready to run; `should_exit` stops it."""
    return uvicorn.Server(
        uvicorn.Config(
            Application(versions, settings).asgi,
            loop="asyncio",
            http=_protocol(settings.request_seconds),
            ws="none",
            lifespan="on",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=settings.max_connections,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=settings.stop_seconds,
        )
    )


def listen(settings: ServerSettings) -> socket.socket:
    """Returns a socket that takes connections.

    Raises:
        InputError: The address is not this machine's, or the port is taken.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as error:
        reason = (
            os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        )  # or the name is unknown
        raise InputError(
            f"--host={settings.host} --port={settings.port}: cannot listen there ({reason}); "
            "expected an address of this machine and a free port."
        ) from None
