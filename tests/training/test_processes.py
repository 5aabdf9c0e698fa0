"""Several processes that go in step: each is replayed what the chief sent, so that none has to be started."""

import math

import numpy as np
import pytest

from powerbert_tf.common.errors import InputError
from powerbert_tf.training.distribution.processes import (
    Processes,
    by_chief,
    in_all,
    is_chief,
    num_processes,
    require_same,
    together,
)


class Sent:
    """What the chief gave to sums, to be added to what another process gives."""

    def __init__(self):
        self.values = []

    def as_chief(self, function):
        def total(values):
            self.values.append(values.copy())
            return values

        with together(Processes(0, 2, total)):
            return function()

    def as_other(self, function):
        remaining = iter(self.values)
        with together(Processes(1, 2, lambda values: values + next(remaining))):
            return function()


def no_call():
    raise AssertionError("called by a process that is not the chief")


@pytest.mark.parametrize("value", [None, [], {"a": [1, 0.1, math.pi]}, "π" * 3001, {"loss": math.inf}])
def test_all_get_what_the_chief_found(value):
    sent = Sent()
    assert sent.as_chief(lambda: by_chief(lambda: value)) == value
    assert sent.as_other(lambda: by_chief(no_call)) == value


def test_arrays_and_tuples_are_lists():
    sent = Sent()
    found = sent.as_chief(lambda: by_chief(lambda: (np.array([0.1, 0.7]), np.float64(0.3))))
    assert found == sent.as_other(lambda: by_chief(no_call)) == [[0.1, 0.7], 0.3]


def test_the_chief_does_it_alone():
    def alone():
        assert num_processes() == 1
        return by_chief(lambda: 7)  # nobody waits for this one

    sent = Sent()
    assert sent.as_chief(lambda: by_chief(alone)) == 7
    assert len(sent.values) == 2
    assert sent.as_other(lambda: (by_chief(no_call), num_processes(), is_chief())) == (7, 2, False)


def test_an_error_of_the_chief_is_everybodys():
    def fail():
        raise InputError("--flag=7: expected 5.")

    sent = Sent()
    for run in (lambda: sent.as_chief(lambda: by_chief(fail)), lambda: sent.as_other(lambda: by_chief(no_call))):
        with pytest.raises(InputError, match=r"^--flag=7: expected 5\.$"):
            run()


def test_one_that_fails_stops_the_others():
    def fail():
        raise InputError("no data here.")

    sent = Sent()
    assert sent.as_chief(lambda: in_all(lambda: 3)) == 3
    with pytest.raises(InputError, match="no data here"):
        sent.as_other(lambda: in_all(fail))
    failing = Sent()
    with pytest.raises(InputError, match="no data here"):
        failing.as_chief(lambda: in_all(fail))
    with pytest.raises(InputError, match="1 of 2 processes cannot continue: see their messages"):
        failing.as_other(lambda: in_all(lambda: 3))


def test_other_settings_are_named():
    sent = Sent()
    sent.as_chief(lambda: require_same("--", {"epochs": 3, "seed": 5}))
    sent.as_other(lambda: require_same("--", {"epochs": 3, "seed": 5}))
    with pytest.raises(InputError, match="--seed is 7, the chief's is 5; expected the same command"):
        sent.as_other(lambda: require_same("--", {"epochs": 3, "seed": 7}))


def test_one_process_is_the_chief():
    assert is_chief()
    assert num_processes() == 1
    value = object()
    assert by_chief(lambda: value) is value
    assert in_all(lambda: value) is value
    require_same("--", {"a": value})
