"""Numbers about the server in Prometheus' format."""

from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST as CONTENT_TYPE
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

__all__ = ["CONTENT_TYPE", "ServerMetrics"]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class ServerMetrics:
    """Counts requests and batches; a registry of its own, with CPU, memory and open files of the process.

    Args:
        waiting: Returns the number of texts that wait.
        version: Returns the number of the version that answers.
    """

    def __init__(self, waiting: Callable[[], int], version: Callable[[], int]):
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)

        def named(kind, name, description, *labels, **options):
            return kind(f"powerbert_{name}", description, labels, registry=self._registry, **options)

        self._requests = named(Counter, "requests", "Requests by path and status.", "path", "status")
        self._seconds = named(
            Histogram, "request_seconds", "From the head of a request to its answer.", "path", buckets=_SECONDS
        )
        self._batch_rows = named(Histogram, "batch_texts", "Texts in a call of the model.", buckets=_ROWS)
        self._batch_seconds = named(Histogram, "batch_seconds", "A call of the model.", buckets=_SECONDS)
        named(Gauge, "queue_texts", "Texts that wait for the model.").set_function(waiting)
        named(Gauge, "model_version", "The version that answers.").set_function(version)

    def request(self, path: str, status: int, seconds: float) -> None:
        """Counts a request that was answered or refused."""
        self._requests.labels(path, status).inc()
        self._seconds.labels(path).observe(seconds)

    def batch(self, rows: int, seconds: float) -> None:
        """Counts a call of the model."""
        self._batch_rows.observe(rows)
        self._batch_seconds.observe(seconds)

    def text(self) -> bytes:
        """Returns all numbers, as `/metrics` has them."""
        return generate_latest(self._registry)
