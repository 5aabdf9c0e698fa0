"""Flags of the server."""

import dataclasses

from powerbert_tf.common.flags import AT_LEAST_1, NOT_NEGATIVE, POSITIVE, Check, CheckedSettings, require, setting

_PORT = Check(lambda value: 0 <= value <= 65535, "0 for any free port, or 1 to 65535")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServerSettings(CheckedSettings):
    """Where the server listens, how it batches, and what a request may cost."""

    host: str = setting(
        "Address to listen on; 0.0.0.0 for all of this machine. No password, no TLS: put a proxy before it.",
        default="127.0.0.1",
    )
    port: int = setting("Port to listen on; 0 for any free one.", default=8080, check=_PORT)
    signature: str = setting(
        "Signature that answers: serve_text, or one such as serve_text_2x of an elastic export.", default="serve_text"
    )
    batch_size: int = setting("Most texts in a batch of the model.", default=32, check=AT_LEAST_1)
    max_wait_ms: float = setting(
        "Longest time that a text waits for others to share its batch, while the model is free; milliseconds.",
        default=2.0,
        check=NOT_NEGATIVE,
    )
    queue: int = setting(
        "Most texts that wait for the model; a request beyond them is refused with 503.", default=1024, check=AT_LEAST_1
    )
    max_texts: int = setting("Most texts in a request.", default=64, check=AT_LEAST_1)
    max_characters: int = setting("Most characters in a text.", default=20_000, check=AT_LEAST_1)
    max_body_kib: int = setting("Largest body of a request; KiB.", default=1024, check=AT_LEAST_1)
    max_connections: int = setting("Most connections at a time.", default=256, check=AT_LEAST_1)
    request_seconds: float = setting(
        "Longest time in which a request must have arrived; a slower client is cut off.", default=10.0, check=POSITIVE
    )
    stop_seconds: int = setting(
        "Longest time for requests in flight when the server stops (SIGTERM or Ctrl-C).", default=30, check=AT_LEAST_1
    )
    poll_seconds: float = setting("How often to look for a newer version in the folder.", default=1.0, check=POSITIVE)

    def __post_init__(self):
        super().__post_init__()
        require(self.max_texts <= self.queue, "max_texts", self.max_texts, f"at most --queue, {self.queue}")
