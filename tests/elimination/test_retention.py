import json

import pytest

from powerbert_tf.common.errors import InputError
from powerbert_tf.elimination.operations import EncoderSize, multiply_adds
from powerbert_tf.elimination.retention import (
    Retention,
    configuration_from_masses,
    format_configuration,
    geometric_schedule,
    kept_lengths,
    parse_configuration,
    read_retention,
    rows_kept,
    uniform_schedule,
    validate_configuration,
    write_retention,
)


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        ((7, 5), r"2 entries; expected 3, one for each encoder"),
        ((7, 5, 3, 2), r"4 entries; expected 3"),
        ((), r"0 entries; expected 3"),
        ((5, 7, 3), r"encoder 2 keeps 7 of the 5 left by the one before; expected entries that never increase"),
        ((7, 5, 0), r"encoder 3 keeps 0; expected at least 1"),
        ((7, 5, -2), r"encoder 3 keeps -2; expected at least 1"),
        ((13, 5, 3), r"encoder 1 keeps 13, more than the maximum sequence length 11"),
        ((7, 5.0, 3), r"encoder 2 has 5.0 beside counts; expected a whole number"),
        ((7, True, 1), r"encoder 2 has True beside counts; expected a whole number"),
        (
            (0.5, 0.7, 0.1),
            r"encoder 2 keeps 0.7 of the 0.5 left by the one before; expected entries that never increase",
        ),
        ((0.5, 0.3, 0.0), r"encoder 3 keeps the fraction 0.0; expected one above 0 and up to 1"),
        ((1.2, 0.3, 0.1), r"encoder 1 keeps the fraction 1.2; expected one above 0 and up to 1"),
        ((0.5, 0.3, 0.12345), r"encoder 3 keeps the fraction 0.12345; expected at most four decimals"),
        ((0.5, 0.3, 1), r"encoder 3 has 1 beside fractions; expected fractions \(1.0 for all\) or counts"),
    ],
)
def test_configurations_that_do_not_fit_are_refused(configuration, message):
    with pytest.raises(InputError, match=message):
        validate_configuration(configuration, num_encoders=3, max_seq_length=11)


def test_a_configuration_that_fits_is_returned():
    assert validate_configuration([11, 5, 5], num_encoders=3, max_seq_length=11) == (11, 5, 5)
    assert parse_configuration("11, 5,1", num_encoders=3, max_seq_length=11) == (11, 5, 1)
    assert parse_configuration("1.0,0.45,.1", num_encoders=3, max_seq_length=11) == (1.0, 0.45, 0.1)
    assert format_configuration((1.0, 0.45, 0.1)) == "1.0,0.45,0.1"


@pytest.mark.parametrize("text", ["", "7,,3", "7;5;3", "7,5,x", "0.5,0.3,y"])
def test_text_that_is_no_configuration_is_refused(text):
    with pytest.raises(InputError, match=r"expected 3 whole numbers, or 3 fractions such as 0.8, with commas between"):
        parse_configuration(text, num_encoders=3, max_seq_length=11)


@pytest.mark.parametrize(
    ("masses", "configuration"),
    [
        ([6.2, 3.0, 0.4], (7, 3, 1)),  # rounded up, at least 1
        ([6.2, 9.5, 2.0], (7, 7, 2)),  # never more than the encoder before
        ([0.0, 0.0], (1, 1)),
        ([13.0], (13,)),
    ],
)
def test_masses_become_counts(masses, configuration):
    assert configuration_from_masses(masses) == configuration


def test_short_inputs_keep_all_their_rows():
    assert kept_lengths((7, 5, 2), 3, length=3) == (3, 3, 2)
    assert kept_lengths(None, 3, length=17) == (17, 17, 17)


@pytest.mark.parametrize(
    ("fraction", "length", "kept"),
    [(0.5, 7, 4), (0.1, 30, 3), (0.07, 100, 7), (0.0001, 512, 1), (1.0, 13, 13), (0.29, 100, 29), (0.3334, 3, 2)],
)
def test_fractions_are_rounded_up_exactly(fraction, length, kept):
    """0.1 * 30 is 3.0000000000000004 in floating point, and 0.29 * 100 is 28.999999999999996."""
    assert rows_kept(fraction, length) == kept
    assert kept_lengths((1.0, fraction), 2, length) == (length, kept)


def test_schedules_fall_to_the_last_fraction():
    assert uniform_schedule(0.1, 3) == (0.7, 0.4, 0.1)
    assert geometric_schedule(0.125, 3) == (0.5, 0.25, 0.125)


def test_multiply_adds_of_two_encoders_by_hand():
    # H=3, I=5, F=7, K=2. First: query, key and value 3*7*9 = 189; scores 49*3 = 147; 2 queries weigh 7 values: 42;
    # output projection 2*9 = 18; feed-forward 2*2*3*5 = 60. Last, 2 rows enter: keys and values 2*2*9 = 36, one query
    # 9, scores 2*3, values 2*3, projection 9, feed-forward 2*3*5 = 30.
    assert multiply_adds(EncoderSize(2, 3, 5), 7, (2, 2)) == 189 + 147 + 42 + 18 + 60 + 36 + 9 + 6 + 6 + 9 + 30


def test_the_published_rte_configuration():
    """BERT-base, N = 256: 3.29 times fewer where every encoder attends for all of its rows, as the original does.

    Choosing the rows first and [CLS] alone in the last encoder make the reduced model cheaper, and the dense one, too.
    """
    configuration = (153, 125, 111, 105, 85, 80, 72, 48, 35, 27, 22, 5)
    base = EncoderSize(12, 768, 3072)

    def original(kept):
        entering = (256, *kept[:-1])
        hidden, inner = 768, 3072
        return sum(
            4 * f * hidden**2 + 2 * f**2 * hidden + 2 * k * hidden * inner for f, k in zip(entering, kept, strict=True)
        )

    assert original((256,) * 12) / original(configuration) == pytest.approx(3.29, abs=0.005)
    assert multiply_adds(base, 256, configuration) / original(configuration) == pytest.approx(0.9695, abs=5e-5)
    assert multiply_adds(base, 256) / original((256,) * 12) == pytest.approx(0.9301, abs=5e-5)


def test_keeping_everything_costs_what_plain_bert_costs():
    size = EncoderSize(3, 35, 29)
    assert multiply_adds(size, 19, (23, 23, 19)) == multiply_adds(size, 19)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"no retention configuration \(ValueError: expected a JSON object: "),
        ("[]", r"expected a JSON object, found list"),
        ({"kind": "shares"}, r"kind 'shares'"),
        ({"kind": "counts"}, r"kind 'counts', values \[0\.5"),
        ({"values": []}, r"values \[\]"),
        ({"values": [0.5, 0.7]}, r"retention\.json: .*expected entries that never increase"),
        ({"values": [1.5]}, r"retention\.json: .*above 0 and up to 1"),
        ({"max_seq_length": 0}, r"max_seq_length 0"),
        ({"selection": "best"}, r"selection 'best'"),
        ({"budgets": [{"kind": "counts", "values": [1]}]}, r"KeyError: 'target_speedup'"),
        ({"budgets": [{"target_speedup": "2", "kind": "fractions", "values": [1]}]}, r"target_speedup '2'"),
        ({"budgets": [{"target_speedup": float("nan"), "kind": "fractions", "values": [1]}]}, r"target_speedup nan"),
        ({"values": [10**400]}, r"OverflowError"),
        ({"neurons": [17]}, r"ValueError: neurons \[17\]"),
        ({"heads": [5, 0]}, r"ValueError: heads \[5, 0\]"),
        ({"heads": [5, True]}, r"ValueError: heads \[5, True\]"),
        (
            {"budgets": [{"target_speedup": 2, "kind": "fractions", "values": [1, 0.5], "neurons": [17, 11, 7]}]},
            r"ValueError: neurons \[17, 11, 7\]",
        ),
        ({"kind": "counts", "values": [True]}, r"values \[True\]"),
        ({"kind": "fractions", "values": [True]}, r"True beside counts"),
        ({"kind": "fractions", "values": ["0.5"]}, r"'0\.5' beside counts"),
    ],
)
def test_a_damaged_description_is_one_clear_error(content, message, tmp_path):
    write_retention(tmp_path, Retention((0.5, 0.25), 23))
    path = tmp_path / "retention.json"
    path.write_text(content if isinstance(content, str) else json.dumps({**json.loads(path.read_text()), **content}))
    with pytest.raises(InputError, match=message) as caught:
        read_retention(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_missing_description_is_named(tmp_path):
    with pytest.raises(InputError, match=r"retention\.json: cannot be read \(No such file"):
        read_retention(tmp_path)


def test_whole_fractions_stay_fractions(tmp_path):
    write_retention(tmp_path, Retention((1.0, 0.5), 23, "head", {2.0: (0.5, 0.25)}))
    path = tmp_path / "retention.json"
    path.write_text(path.read_text().replace("1.0", "1"))
    assert read_retention(tmp_path) == Retention((1.0, 0.5), 23, "head", {2.0: (0.5, 0.25)})


def test_counts_come_back(tmp_path):
    write_retention(tmp_path, Retention((13, 7, 2), 23))
    assert read_retention(tmp_path) == Retention((13, 7, 2), 23)


def test_widths_come_back_and_each_budget_has_its_own(tmp_path):
    retention = Retention(
        (0.9, 0.5),
        23,
        budgets={1.5: (0.5, 0.25), 2.0: (0.25, 0.13)},
        neurons=(17, 11),
        budget_widths={2.0: {"neurons": (13, 7), "heads": (3, 2)}},
    )
    write_retention(tmp_path, retention)
    assert read_retention(tmp_path) == retention
    budgets = json.loads((tmp_path / "retention.json").read_text())["budgets"]
    assert budgets == [
        {"target_speedup": 1.5, "kind": "fractions", "values": [0.5, 0.25]},
        {"target_speedup": 2.0, "kind": "fractions", "values": [0.25, 0.13], "neurons": [13, 7], "heads": [3, 2]},
    ]
