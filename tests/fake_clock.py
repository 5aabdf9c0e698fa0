"""A clock that only calls move, so that measurements are known beforehand."""

import types

import numpy as np

from powerbert_tf.latency import encoder_costs, timing


class Clock:
    """Stands still but for what calls take; `calls` holds (name, length) of each."""

    def __init__(self, monkeypatch):
        self.now, self.calls = 0.0, []
        monkeypatch.setattr(timing, "time", types.SimpleNamespace(perf_counter=lambda: self.now))
        monkeypatch.setattr(timing, "compiled_once", lambda function, jit_compile: function)
        monkeypatch.setattr(encoder_costs, "compiled", lambda function, jit_compile: function)

    def function(self, name, milliseconds):
        """A model that takes `milliseconds(length, number of the call with that length, 0 for the first)`."""

        def run(inputs):
            call = (name, inputs["token_ids"].shape[1])
            self.now += milliseconds(call[1], self.calls.count(call)) / 1000
            self.calls.append(call)
            return np.zeros(())

        return run
