import pytest

from powerbert_tf.errors import InputError
from powerbert_tf.retention import (
    EncoderSize,
    configuration_from_masses,
    kept_lengths,
    multiply_adds,
    parse_configuration,
    validate_configuration,
)


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        ((7, 5), r"2 counts; expected 3, one for each encoder"),
        ((7, 5, 3, 2), r"4 counts; expected 3"),
        ((), r"0 counts; expected 3"),
        ((5, 7, 3), r"encoder 2 keeps 7 of the 5 left by the one before; expected counts that never increase"),
        ((7, 5, 0), r"encoder 3 keeps 0; expected at least 1"),
        ((7, 5, -2), r"encoder 3 keeps -2; expected at least 1"),
        ((13, 5, 3), r"encoder 1 keeps 13, more than the maximum sequence length 11"),
        ((7, 5.0, 3), r"encoder 2 has 5.0; expected a whole number"),
        ((7, True, 1), r"encoder 2 has True; expected a whole number"),
    ],
)
def test_configurations_that_do_not_fit_are_refused(configuration, message):
    with pytest.raises(InputError, match=message):
        validate_configuration(configuration, num_encoders=3, max_seq_length=11)


def test_a_configuration_that_fits_is_returned():
    assert validate_configuration([11, 5, 5], num_encoders=3, max_seq_length=11) == (11, 5, 5)
    assert parse_configuration("11, 5,1", num_encoders=3, max_seq_length=11) == (11, 5, 1)


@pytest.mark.parametrize("text", ["", "7,,3", "7;5;3", "7,5,x", "7,5,2.5"])
def test_text_that_is_no_configuration_is_refused(text):
    with pytest.raises(InputError, match=r"expected 3 whole numbers with commas between"):
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


def test_multiply_adds_of_one_encoder_by_hand():
    # H=3, I=5, F=7, K=2: projections 4*7*9 = 252; attention 2*49*3 = 294; feed-forward 2*2*3*5 = 60.
    assert multiply_adds(EncoderSize(1, 3, 5), 7, (2,)) == 252 + 294 + 60


def test_published_rte_configuration_saves_what_was_published():
    # BERT-base, N = 256: 3.29x fewer multiply-adds.
    configuration = (153, 125, 111, 105, 85, 80, 72, 48, 35, 27, 22, 5)
    base = EncoderSize(12, 768, 3072)
    assert multiply_adds(base, 256) / multiply_adds(base, 256, configuration) == pytest.approx(3.29, abs=0.005)


def test_keeping_everything_costs_what_plain_bert_costs():
    size = EncoderSize(3, 35, 29)
    assert multiply_adds(size, 19, (23, 23, 19)) == multiply_adds(size, 19)
