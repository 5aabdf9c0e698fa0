import pytest

from powerbert_tf.common.errors import InputError
from powerbert_tf.search.settings import SearchSettings


def settings(**given):
    return SearchSettings(**{"lambda_": 0.0, **given})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"search_method": "best"}, r"--search_method=best: expected one of calibrate, soft, paper"),
        ({"selection": "tail"}, r"--selection=tail: expected one of attention, weighted, head, random"),
        ({"target_speedup": 2.0, "max_loss": 0.1}, r"--target_speedup and --max_loss are given; expected one target"),
        (
            {"target_latency_ms": 7.0, "retention_configuration": "0.5,0.3"},
            r"--target_latency_ms and --retention_configuration are given; expected one of them",
        ),
        ({"target_speedup": 2.0, "search_method": "paper"}, r"--target_speedup: .*expected another search method"),
        ({"max_loss": 0.1, "search_method": "soft"}, r"--max_loss: .*expected --search_method=calibrate"),
        ({"target_speedups": "2;3"}, r"--target_speedups=2;3: expected speed-ups of at least 1"),
        ({"target_speedups": "0.9,3"}, r"--target_speedups=0.9,3: expected speed-ups of at least 1"),
        ({"target_speedups": "inf"}, r"--target_speedups=inf: expected speed-ups of at least 1"),
    ],
)
def test_flags_that_do_not_fit_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        settings(**{"selection": "attention", **given})


def test_targets_are_sorted_and_each_is_there_once():
    assert settings(selection="attention", target_speedups="3,1.5,3.0,2").pareto_targets() == (1.5, 2.0, 3.0)


def test_a_given_configuration_takes_the_place_of_a_search():
    assert settings(selection="head").searches
    assert not settings(selection="head", retention_configuration="0.5,0.3").searches
