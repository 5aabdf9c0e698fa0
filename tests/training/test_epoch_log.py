import pytest

from powerbert_tf.training.epoch_log import read_log, still_improving


def rows(*values, name="held_out_loss"):
    return [{"epoch": number, name: value} for number, value in enumerate(values, start=1)]


@pytest.mark.parametrize(
    ("log", "kept", "expected"),
    [
        (rows(0.9, 0.8, 0.7), 3, True),  # an eighth less
        (rows(0.9, 0.8, 0.77), 3, False),  # 3.75 % less
        (rows(0.9, 0.8, 0.7), 2, False),  # another epoch was better by its metric
        (rows(0.7), 1, False),
        (rows(0.9, 0.7, name="distance"), 2, True),
        (rows(0.9, 0.7, name="loss"), 2, False),  # chosen on dev
        ([], None, False),
    ],
)
def test_a_training_that_ended_too_early(log, kept, expected):
    assert still_improving(log, kept) is expected


def test_a_log_of_an_earlier_version_was_chosen_on_dev(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"epoch": 1}\n{"epoch": 2, "split": "held-out"}\n')
    assert [row["split"] for row in read_log(tmp_path)] == ["dev", "held-out"]
    assert read_log(tmp_path / "nowhere") == []
