"""RACE: files as they are packed, questions whose options are scored one by one, all stages on a tiny checkpoint."""

import csv
import json
import random
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from made_up_rows import segment_ids_of, token_ids_of
from tiny_task import write_checkpoint

from powerbert_tf import serve_check
from powerbert_tf.batches.encoded_cache import load_encoded
from powerbert_tf.batches.encoded_split import encode_split
from powerbert_tf.batches.padded_batches import prediction_batches, training_batches
from powerbert_tf.checkpoints import load_classifier
from powerbert_tf.common.errors import InputError
from powerbert_tf.data.datasets import load_dataset
from powerbert_tf.data.race import option_pairs
from powerbert_tf.data.splits import Split
from powerbert_tf.data.tasks import PUBLISHED, RACE, get_task
from powerbert_tf.prediction.settings import PredictSettings
from powerbert_tf.runs import pipeline
from powerbert_tf.runs.request import read_predict_request
from powerbert_tf.runs.settings import resolve_settings
from powerbert_tf.tokenizers.word_pieces import Tokenizer
from powerbert_tf.training.evaluation import predict_logits
from powerbert_tf.training.losses import task_loss

ARTICLES = {"train": 7, "dev": 3, "test": 2}  # of each level
K = 4


def write_race(data_dir):
    """Questions whose right option is the one with the letter that the article has most of."""
    draw = random.Random(0)
    for split, count in ARTICLES.items():
        for level in ("middle", "high"):
            folder = data_dir / "RACE" / split / level
            folder.mkdir(parents=True)
            for number in range(count):
                letter = "ab"[number % 2]
                article = " ".join([letter] * 5 + draw.choices("ab", k=draw.randrange(1, 7)))
                questions, options, answers = [], [], []
                for _ in range(draw.randrange(1, 4)):
                    right = draw.randrange(K)
                    other = "ba"[number % 2]
                    questions.append(draw.choice(["which", "it is _", "_ and _ again"]))
                    options.append([letter if option == right else other for option in range(K)])
                    answers.append("ABCD"[right])
                content = {
                    "article": article,
                    "questions": questions,
                    "options": options,
                    "answers": answers,
                    "id": "x",
                }
                (folder / f"{number}.txt").write_text(json.dumps(content), encoding="utf-8")
    return data_dir


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    write_checkpoint(folder / "checkpoint")
    write_race(folder / "data")
    return folder


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "c", "d", "e", "_"], lower_case=True)


def count_questions(folder):
    return sum(len(json.loads(path.read_text())["questions"]) for path in folder.rglob("*.txt"))


def test_files_as_they_are_packed(world):
    splits = load_dataset(RACE, world / "data").splits
    assert list(splits) == ["train", "dev", "dev_middle", "dev_high", "test"]
    for name in ("train", "dev", "test"):
        folder = world / "data" / "RACE" / name
        assert len(splits[name]) == count_questions(folder)
        assert len(splits[name].texts) == 2 + K
        for row, place in enumerate(splits[name].indices):
            path, _, number = place.rpartition(":")
            value = json.loads(Path(path).read_text(encoding="utf-8"))
            at = int(number) - 1
            assert [column[row] for column in splits[name].texts] == [
                value["article"], value["questions"][at], *value["options"][at],
            ]  # fmt: skip
            assert "ABCD"[splits[name].labels[row]] == value["answers"][at]
    levels = [splits["dev_middle"], splits["dev_high"]]
    assert [len(split) for split in levels] == [
        count_questions(world / "data" / "RACE" / "dev" / level) for level in ("middle", "high")
    ]
    assert splits["dev"].texts[0] == levels[0].texts[0] + levels[1].texts[0]


def test_the_option_takes_the_place_of_the_blank():
    texts = [["art 1", "art 2", "art 3", "art 4"], ["what", "is _ it", "_", "a_b__c_"]]
    options = [["A1", "A2", "", "x"], ["B1", "B_2", "B3", "_"]]
    first, second = option_pairs([tf.constant(column) for column in (*texts, *options)])
    assert [text.decode() for text in first.numpy()] == [text for text in texts[0] for _ in range(2)]
    expected = [
        question.replace("_", option) if "_" in question else f"{question} {option}"
        for question, *row in zip(texts[1], *options, strict=True)
        for option in row
    ]
    assert [text.decode() for text in second.numpy()] == expected


def split_of(count, seed=0):
    draw = random.Random(seed)

    def words(least, most):
        return " ".join(draw.choices("abcde", k=draw.randrange(least, most)))

    columns = tuple([words(*size) for _ in range(count)] for size in ((3, 17), (1, 4), *[(1, 5)] * K))
    return Split(columns, np.array([draw.randrange(K) for _ in range(count)], "int32"), None, choices=K)


def test_questions_are_batched_whole(tokenizer):
    split = split_of(11)
    encoded = encode_split(split, tokenizer, 31)
    assert len(encoded) == 11
    ids = token_ids_of(encoded)
    assert len(ids) == 11 * K
    for row, (article, question, *options) in enumerate(zip(*split.texts, strict=True)):
        for option, text in enumerate(options):
            pieces = [
                ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "c", "d", "e", "_"][i] for i in ids[row * K + option]
            ]
            assert " ".join(pieces) == f"[CLS] {article} [SEP] {question} {text} [SEP]"
    longest = [max(map(len, ids[row * K : row * K + K])) for row in range(11)]
    assert encoded.lengths.tolist() == longest
    few = encoded.take(np.array([7, 2]))
    assert token_ids_of(few) == ids[28:32] + ids[8:12]
    assert few.labels.tolist() == [split.labels[7], split.labels[2]]
    for fill in (False, True):
        batches = training_batches(encoded, 3, epochs=2, seed=1, fill=fill)
        seen = []
        for at, (inputs, labels, *weights) in enumerate(batches.dataset(with_labels=True)):
            rows = batches.rows(at)
            questions = 3 if fill else len(rows)
            assert inputs["token_ids"].shape[0] == questions * K
            assert labels.numpy().tolist() == [*split.labels[rows], *[0] * (questions - len(rows))]
            assert [weight.numpy().tolist() for weight in weights] == [
                [1.0] * len(rows) + [0.0] * (3 - len(rows))
            ] * fill
            for at, row in enumerate(np.repeat(rows, K) * K + np.tile(np.arange(K), len(rows))):
                found = inputs["token_ids"].numpy()[at]
                assert found.tolist() == ids[row] + [0] * (len(found) - len(ids[row]))
            seen += rows.tolist()
        assert sorted(seen) == sorted(2 * list(range(11)))


def test_the_cache_knows_questions(tokenizer, tmp_path):
    split = split_of(11)
    expected = encode_split(split, tokenizer, 31)
    for _ in range(2):
        found = load_encoded(split, tokenizer, 31, tmp_path)
        assert token_ids_of(found) == token_ids_of(expected)
        assert (len(found), found.choices) == (11, K)


def test_a_slow_loss(world, tokenizer):
    """The loss of a model of four choices is the cross-entropy of the scores of the pairs, each by itself."""
    split = split_of(7)
    encoded = encode_split(split, tokenizer, 29)
    scorer = load_classifier(world / "checkpoint", 1, 29)
    model = load_classifier(world / "checkpoint", 1, 29, choices=K)
    model.set_weights(scorer.get_weights())
    ids, segments = token_ids_of(encoded), segment_ids_of(encoded)
    losses, scores = [], []
    for row, label in enumerate(split.labels):
        logits = []
        for pair in range(row * K, row * K + K):
            one = {
                "token_ids": np.array([ids[pair]], "int32"),
                "segment_ids": np.array([segments[pair]], "int32"),
                "padding_mask": np.ones((1, len(ids[pair])), "int32"),
            }
            logits.append(float(keras.ops.convert_to_numpy(scorer(one))[0, 0]))
        scores.append(logits)
        shifted = np.array(logits, "float64") - max(logits)
        losses.append(np.log(np.sum(np.exp(shifted))) - shifted[label])
    ((inputs, labels),) = prediction_batches(encoded, 7, grouped=False).dataset(with_labels=True)
    found = model(inputs)
    assert found.shape == (7, K)
    np.testing.assert_allclose(found, scores, atol=1e-5)
    np.testing.assert_allclose(float(task_loss(RACE)(labels, found)), np.mean(losses), rtol=1e-5)
    settings = resolve_settings(RACE, max_seq_length=29, eval_batch_size=3)
    np.testing.assert_allclose(predict_logits(model, encoded, settings.inference), scores, atol=1e-5)


def settings_for(world, output, **given):
    return resolve_settings(
        RACE.name, checkpoint=str(world / "checkpoint"), data_dir=str(world / "data"), output_dir=str(output),
        **{
            "cost_model": "multiply_adds", "calibration_examples": 7, "latency_batch_size": 3, "max_seq_length": 31,
            "target_speedup": 1.2, "epochs": 1, "epochs_retrain": 1, "batch_size": 5, "eval_batch_size": 3,
            "learning_rate": 1e-3, **given,
        },
    )  # fmt: skip


@pytest.mark.slow
def test_all_stages(world, tmp_path, capsys):
    pipeline.run(settings_for(world, tmp_path))
    pipeline.run(settings_for(world, tmp_path), "report")
    folder = tmp_path / "RACE"
    evaluated = json.loads((folder / "evaluate" / "result.json").read_text())
    counts = {level: count_questions(world / "data" / "RACE" / "dev" / level) for level in ("middle", "high")}
    assert evaluated["examples"] == sum(counts.values())
    for model in ("dense", "reduced"):
        apart = {level: evaluated["further"][f"dev_{level}"][model]["accuracy"] for level in counts}
        mean = sum(apart[level] * count for level, count in counts.items()) / sum(counts.values())
        assert evaluated[model]["metrics"]["accuracy"] == pytest.approx(mean)
    assert list(evaluated["per_class"]) == list("ABCD")

    with (folder / "predict" / "predictions.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["file", "line", "prediction", *(f"probability of {letter}" for letter in "ABCD")]
    assert len(rows) == count_questions(world / "data" / "RACE" / "test")
    np.testing.assert_allclose(np.array([row[3:] for row in rows], float).sum(axis=1), 1, atol=1e-5)

    version = folder / "saved_model" / "1"
    signature = serve_check.load_signatures(version)["serve_text"]
    names = ["article", "question", *(f"option_{letter}" for letter in "abcd")]
    texts = load_dataset(RACE, world / "data").splits["test"].texts
    served = signature(**{name: tf.constant(column) for name, column in zip(names, texts, strict=True)})
    np.testing.assert_allclose(served["probabilities"], np.array([row[3:] for row in rows], float), atol=1e-5)
    for label, values in zip(served["label"].numpy(), served["probabilities"].numpy(), strict=True):
        assert values["ABCD".index(label.decode())] == values.max()  # options may be the same
    assert serve_check.main([str(version), "--repeats=1"]) == 0
    assert "questions about an article with 4 options each" in (version / "README.md").read_text()

    for stage, given, message in (
        ("explain", {}, "--stage=explain: RACE is multiple choice"),
        ("export", {"export_format": "onnx"}, "--export_format=onnx: RACE is multiple choice; expected tf_saved_model"),
    ):
        with pytest.raises(InputError, match=message):
            pipeline.run(settings_for(world, tmp_path, **given), stage, overwrite=True)
    with pytest.raises(InputError, match="--predict_file: RACE is multiple choice"):
        read_predict_request(PredictSettings(predict_file="new.csv"), {"task": str(folder)})
    capsys.readouterr()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["soft", "paper"])
def test_other_searches(world, tmp_path, method):
    given = {"target_speedup": 0.0} if method == "paper" else {}
    pipeline.run(settings_for(world, tmp_path, search_method=method, **given), "retrain")
    result = json.loads((tmp_path / "RACE" / "retrain" / "result.json").read_text())
    assert result["examples"] == count_questions(world / "data" / "RACE" / "dev")


GOOD = {"article": "a", "questions": ["q"], "options": [["a", "b", "c", "d"]], "answers": ["B"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "expected a JSON object: Expecting property name"),
        (b"\xff", "expected a JSON object: 'utf-8' codec can't decode byte 0xff"),
        ([], "expected a JSON object, found list"),
        ({"article": "a", "questions": []}, "lacks options, answers; expected an object"),
        ({**GOOD, "answers": ["E"]}, "question 1: the answer 'E' is none of A, B, C, D"),
        ({**GOOD, "answers": [1]}, "question 1: the answer 1 is none of A, B, C, D"),
        ({**GOOD, "options": [["a", "b", "c"]]}, "question 1: 3 options; expected 4"),
        (
            {**GOOD, "options": [["a", "b", "c", 4]]},
            "question 1: its options are a JSON list; expected a list of texts",
        ),
        ({**GOOD, "options": "abcd"}, "options are a JSON str; expected a list"),
        ({**GOOD, "questions": ["q", "r"]}, "2 questions and 1 options; expected the same number"),
        ({**GOOD, "article": None}, "the article is a JSON NoneType; expected a text"),
        ({**GOOD, "questions": [7]}, "question 1: is a JSON int; expected a text"),
    ],
)
def test_bad_files(tmp_path, content, message):
    write_race(tmp_path)
    path = tmp_path / "RACE" / "dev" / "high" / "1.txt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(InputError) as caught:
        load_dataset(RACE, tmp_path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_a_folder_that_is_missing(tmp_path):
    with pytest.raises(InputError, match=r"RACE/train/middle: no \*\.txt in it; expected RACE as it is packed"):
        load_dataset(RACE, tmp_path)


def test_the_row_of_the_table():
    assert get_task("RACE") is PUBLISHED["RACE"] is RACE
    assert (RACE.num_outputs, RACE.choices, RACE.classes, RACE.max_seq_length) == (1, K, ("A", "B", "C", "D"), 512)
    assert (RACE.learning_rate_soft_extract, RACE.lambda_) == (2e-4, 1e-4)
    with pytest.raises(InputError, match="Did you mean RACE"):
        get_task("Race")
