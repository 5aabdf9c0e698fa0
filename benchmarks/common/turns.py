"""Times of functions that take turns in one process."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from powerbert_tf.common.processes import milliseconds, turns


def percentiles(values: Sequence[float], shares: Sequence[int]) -> dict[str, float]:
    """Percentiles as `p50_ms` and so on."""
    return {f"p{share}_ms": float(np.percentile(values, share)) for share in shares}


def time_in_turns(functions: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Times functions in this process, call by call; the first call of each traces or compiles."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for name in turns(functions, rounds):
        times[name].append(milliseconds(functions[name]))
    return times
