"""KerasHub's models: taken over exactly, with their heads and tokenizers; and what cannot be taken, by name."""

import json
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from tiny_bert import random_inputs
from tiny_hub import (
    CLASSIFIERS,
    KINDS,
    NUM_CLASSES,
    VOCABULARY,
    keras_hub,
    logits_of,
    make_backbone,
    make_classifier,
    make_preprocessor,
    shake,
)
from tiny_pieces import HARD

from powerbert_tf import load_classifier
from powerbert_tf.checkpoints import find_checkpoint
from powerbert_tf.common.errors import InputError
from powerbert_tf.data.kinds import LABELS
from powerbert_tf.tokenizers.files import load_tokenizer
from powerbert_tf.tokenizers.word_pieces import Tokenizer

# KerasHub leaves the file open from which it reads a SentencePiece model.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file .*vocabulary.spm:ResourceWarning")

N = 23
TINY = {"vocab_size": 97, "max_position_embeddings": 31}


def inputs_for(length=19, seed=0):
    inputs = random_inputs(TINY, batch=5, length=length, seed=seed)
    assert (inputs["padding_mask"] == 0).any()
    assert (inputs["segment_ids"] == 1).any()
    return inputs


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_logits_equal_those_of_keras_hub(name):
    theirs, inputs = make_classifier(KINDS[name]), inputs_for()
    expected = logits_of(theirs, inputs, KINDS[name])
    assert np.abs(expected[0] - expected[1]).max() > 0.1  # the weights are such that inputs matter
    model = load_classifier(theirs, NUM_CLASSES, N)
    np.testing.assert_allclose(ops.convert_to_numpy(model(inputs)), expected, atol=1e-5)


@pytest.mark.parametrize("name", KINDS)
def test_a_backbone_gives_the_same_word_vectors_and_gets_a_new_head(name):
    kind, inputs = KINDS[name], inputs_for()
    theirs = make_backbone(kind)
    model = load_classifier(theirs, 3, N)
    assert model.get_layer("classifier").kernel.shape == (35, 3)
    output = theirs({key: value for key, value in inputs.items() if kind.segments or key != "segment_ids"})
    word_vectors = output["sequence_output"] if isinstance(output, dict) else output
    rows, mask = model.get_layer("embeddings")(inputs["token_ids"], inputs["segment_ids"]), inputs["padding_mask"]
    for encoder in model.encoders:
        rows, mask = encoder(rows, mask, inputs["padding_mask"])
    np.testing.assert_allclose(ops.convert_to_numpy(rows)[:, 0], word_vectors[:, 0], atol=1e-5)


@pytest.fixture(scope="module", params=CLASSIFIERS)
def saved(request, tmp_path_factory):
    """A classifier with its preprocessor: the architecture, the object, a `.keras` file, a preset folder."""
    folder = tmp_path_factory.mktemp("saved")
    preprocessor = make_preprocessor(KINDS[request.param], folder / "tokenizer")
    sizes = {"vocabulary_size": preprocessor.tokenizer.vocabulary_size()}
    classifier = make_classifier(KINDS[request.param], preprocessor, sizes=sizes)
    classifier.save(folder / "classifier.keras")
    classifier.save_to_preset(str(folder / "preset"))
    return request.param, classifier, folder


@pytest.mark.parametrize("form", ["object", "file", "preset"])
def test_a_classifier_answers_as_it_did_from_raw_text(saved, form):
    name, classifier, folder = saved
    checkpoint = find_checkpoint(
        {"object": classifier, "file": folder / "classifier.keras", "preset": folder / "preset"}[form]
    )
    assert checkpoint.config.architecture == name
    assert checkpoint.max_seq_length == N
    texts = (["a fé b É! 中, ACDC", "the film is 1,000, and Fine", "d"], ["b?", "a dull one, 12,a", "``c'' d"])
    theirs = classifier.preprocessor(x=tuple(tf.constant(text) for text in texts))
    tokenizer = load_tokenizer(checkpoint)
    token_ids, segment_ids = tokenizer([tf.constant(text) for text in texts], N)
    shape = [3, N]
    ours = {
        "token_ids": token_ids.to_tensor(tokenizer.pad_id, shape=shape),
        "segment_ids": segment_ids.to_tensor(shape=shape),
        "padding_mask": tf.sequence_mask(token_ids.row_lengths(), N, tf.int32),
    }
    np.testing.assert_array_equal(ours["token_ids"], theirs["token_ids"])
    model = load_classifier(checkpoint, NUM_CLASSES, N)
    expected = logits_of(classifier, {name: np.array(values) for name, values in theirs.items()}, KINDS[name])
    np.testing.assert_allclose(ops.convert_to_numpy(model(ours)), expected, atol=1e-5)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_what_lora_adds_is_merged(name):
    theirs, inputs = make_classifier(KINDS[name]), inputs_for()
    before = logits_of(theirs, inputs, KINDS[name])
    theirs.backbone.enable_lora(3)
    shake(theirs)
    assert any("lora" in variable.path for variable in theirs.weights)
    expected = logits_of(theirs, inputs, KINDS[name])
    assert np.abs(expected - before).max() > 0.1
    model = load_classifier(theirs, NUM_CLASSES, N)
    np.testing.assert_allclose(ops.convert_to_numpy(model(inputs)), expected, atol=1e-5)


@pytest.mark.parametrize("truncate", ["waterfall", "round_robin"])
@pytest.mark.parametrize("sequence_length", [4, 11])
def test_pairs_are_cut_as_the_preprocessor_does(truncate, sequence_length):
    preprocessor = make_preprocessor(KINDS["bert"], None, sequence_length)
    preprocessor.truncate = truncate
    classifier = make_classifier(KINDS["bert"], preprocessor, sizes={"vocabulary_size": 23})
    tokenizer = load_tokenizer(find_checkpoint(classifier))
    lengths = [(first, second) for first in range(13) for second in range(13)]
    texts = [tf.constant([word * pair[number] for pair in lengths]) for number, word in enumerate(("a ", "b "))]
    theirs = preprocessor(x=tuple(texts))
    token_ids, segment_ids = tokenizer(texts, sequence_length)
    shape = [len(lengths), sequence_length]
    np.testing.assert_array_equal(token_ids.to_tensor(tokenizer.pad_id, shape=shape), theirs["token_ids"])
    np.testing.assert_array_equal(segment_ids.to_tensor(shape=shape), theirs["segment_ids"])


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("split_on_cjk", False),
        ("split", False),
        ("special_tokens_in_strings", True),
        ("suffix_indicator", "@@"),
        ("oov_token", "[PAD]"),
    ],
)
def test_settings_of_a_tokenizer_are_refused_by_name(setting, value):
    preprocessor = make_preprocessor(KINDS["bert"], None, **{setting: value})
    classifier = make_classifier(KINDS["bert"], preprocessor, sizes={"vocabulary_size": 23})
    with pytest.raises(InputError, match=rf"its tokenizer has {setting}=.*, which is not supported; expected"):
        load_tokenizer(find_checkpoint(classifier))


def test_settings_of_byte_pairs_are_refused_by_name(tmp_path):
    preprocessor = make_preprocessor(KINDS["roberta"], tmp_path)
    preprocessor.tokenizer.add_prefix_space = True
    classifier = make_classifier(KINDS["roberta"], preprocessor, sizes={"vocabulary_size": 307})
    with pytest.raises(InputError, match="its tokenizer has add_prefix_space=True, which is not supported"):
        load_tokenizer(find_checkpoint(classifier))


@pytest.mark.parametrize(("lowercase", "strip_accents"), [(True, False), (True, True), (False, True), (False, False)])
def test_case_and_accents_are_those_of_the_tokenizer(lowercase, strip_accents):
    arguments = {"lowercase": lowercase, "strip_accents": strip_accents}
    preprocessor = make_preprocessor(KINDS["bert"], None, **arguments)
    classifier = make_classifier(KINDS["bert"], preprocessor, sizes={"vocabulary_size": 23})
    texts = tf.constant(["A FÉ ab É!", "naïve Fé resume\u0301", "d\ta\nb"])
    expected = [list(ids) for ids in preprocessor.tokenizer(texts)]
    assert load_tokenizer(find_checkpoint(classifier)).tokenize(texts).to_list() == expected


def test_classes_of_ones_own_are_refused():
    class MyTokenizer(keras_hub.models.BertTokenizer):
        pass

    class MyPreprocessor(keras_hub.models.BertTextClassifierPreprocessor):
        pass

    own = keras_hub.models.BertTextClassifierPreprocessor(MyTokenizer(VOCABULARY), sequence_length=N)
    with pytest.raises(InputError, match="its tokenizer is a MyTokenizer; expected KerasHub's own"):
        load_tokenizer(find_checkpoint(make_classifier(KINDS["bert"], own, sizes={"vocabulary_size": 23})))
    own = MyPreprocessor(keras_hub.models.BertTokenizer(VOCABULARY), sequence_length=N)
    with pytest.raises(InputError, match="its preprocessor is a MyPreprocessor; expected KerasHub's own"):
        find_checkpoint(make_classifier(KINDS["bert"], own))


def test_hard_texts_find_what_no_name_shows(monkeypatch):
    preprocessor = make_preprocessor(KINDS["bert"], None)
    classifier = make_classifier(KINDS["bert"], preprocessor, sizes={"vocabulary_size": 23})
    monkeypatch.setattr(Tokenizer, "_normalize", lambda self, texts: tf.strings.lower(texts, encoding="utf-8"))
    with pytest.raises(InputError, match=r"BertTextClassifier .*: gives the ids .* which become .* here"):
        load_tokenizer(find_checkpoint(classifier))


def test_a_tokenizer_that_lower_cases_keeps_accents_as_keras_hub_does():
    preprocessor = make_preprocessor(KINDS["bert"], None, lowercase=True)
    classifier = make_classifier(KINDS["bert"], preprocessor, sizes={"vocabulary_size": 23})
    tokenizer = load_tokenizer(find_checkpoint(classifier))
    assert tokenizer.lower_case
    # Without what KerasHub folds beyond lower case, and cuts where BERT's own code drops.
    texts = ["", "A FÉ ab É!", "naïve Fé resume\u0301", "d\ta\nb"]
    expected = [list(ids) for ids in preprocessor.tokenizer(tf.constant(texts))]
    assert tokenizer.tokenize(tf.constant(texts)).to_list() == expected
    stripping = load_tokenizer(find_checkpoint(classifier), case="uncased")
    assert stripping.fingerprint == tokenizer.fingerprint


def test_pieces_of_albert_are_those_of_keras_hub_on_hard_texts():
    preprocessor = make_preprocessor(KINDS["albert"], None)
    sizes = {"vocabulary_size": preprocessor.tokenizer.vocabulary_size()}
    tokenizer = load_tokenizer(find_checkpoint(make_classifier(KINDS["albert"], preprocessor, sizes=sizes)))
    expected = [list(ids) for ids in preprocessor.tokenizer(tf.constant(HARD))]
    assert tokenizer.tokenize(tf.constant(HARD)).to_list() == expected


@pytest.mark.parametrize(
    ("architecture", "arguments", "message"),
    [
        ("bert", {"activation": "tanh"}, "its head ends in tanh; expected logits, or a softmax or sigmoids"),
        ("bert", {"activation": "sigmoid", "num_classes": 1}, "a sigmoid over one class"),
        ("bert", {"activation": "softmax", "num_classes": 1}, "a softmax over one class"),
        ("distilbert", {"hidden_dim": 41}, "its head has hidden_dim=41; expected 35"),
        ("roberta", {"hidden_dim": 41}, "its head has hidden_dim=41; expected 35"),
        ("albert", {"sizes": {"num_groups": 3}}, "num_groups=3, num_inner_repetitions=1 are not supported"),
        ("albert", {"sizes": {"num_inner_repetitions": 2}}, "num_inner_repetitions=2 are not supported"),
    ],
)
def test_what_has_no_equal_here_is_refused(architecture, arguments, message):
    with pytest.raises(InputError, match=message):
        find_checkpoint(make_classifier(KINDS[architecture], **arguments))


def test_a_softmax_is_left_to_whoever_wants_probabilities():
    theirs, inputs = make_classifier(KINDS["bert"], activation="softmax"), inputs_for()
    logits = ops.convert_to_numpy(load_classifier(theirs, NUM_CLASSES, N)(inputs))
    np.testing.assert_allclose(ops.softmax(logits), logits_of(theirs, inputs, KINDS["bert"]), atol=1e-6)


def test_sigmoids_are_those_of_several_labels():
    theirs, inputs = make_classifier(KINDS["bert"], activation="sigmoid"), inputs_for()
    assert find_checkpoint(theirs).is_multi_label
    logits = ops.convert_to_numpy(load_classifier(theirs, NUM_CLASSES, N, kind=LABELS)(inputs))
    np.testing.assert_allclose(ops.sigmoid(logits), logits_of(theirs, inputs, KINDS["bert"]), atol=1e-6)
    assert not find_checkpoint(make_classifier(KINDS["bert"])).is_multi_label


def test_models_of_other_kinds_are_named():
    expected = "expected one of KerasHub's BertTextClassifier, BertBackbone, AlbertTextClassifier"
    with pytest.raises(InputError, match=f"a Sequential; {expected}"):
        find_checkpoint(keras.Sequential([keras.layers.Dense(2)]))
    xlm = keras_hub.models.XLMRobertaBackbone(
        vocabulary_size=97, num_layers=1, num_heads=5, hidden_dim=35, intermediate_dim=29
    )
    with pytest.raises(InputError, match=f"a XLMRobertaBackbone; {expected}"):
        find_checkpoint(xlm)


def test_without_a_preprocessor_there_is_no_tokenizer():
    with pytest.raises(InputError, match=r"BertTextClassifier .*: has no preprocessor, and so no tokenizer; give it"):
        load_tokenizer(find_checkpoint(make_classifier(KINDS["bert"])))


def test_a_vocabulary_of_another_size_is_refused():
    classifier = make_classifier(KINDS["bert"], make_preprocessor(KINDS["bert"], None))
    with pytest.raises(InputError, match="23 tokens; expected 97, the vocab_size"):
        load_tokenizer(find_checkpoint(classifier))


def test_a_preset_of_a_backbone_alone_has_no_head(tmp_path):
    make_backbone(KINDS["electra"]).save_to_preset(str(tmp_path))
    checkpoint = find_checkpoint(tmp_path)
    assert checkpoint.max_seq_length is None
    assert "classifier/bias" not in checkpoint.read_weights()
    assert "pooler/bias" not in checkpoint.read_weights()  # KerasHub's, which nobody has trained
    with pytest.raises(InputError, match="KerasHub cannot load it"):
        load_tokenizer(checkpoint)


def test_damaged_files_are_one_clear_error(tmp_path):
    classifier = make_classifier(KINDS["bert"], make_preprocessor(KINDS["bert"], None), sizes={"vocabulary_size": 23})
    path = tmp_path / "classifier.keras"
    with pytest.raises(InputError, match=r"classifier\.keras: no such file"):
        find_checkpoint(path)
    classifier.save(path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InputError, match=r"classifier\.keras: cannot be read"):
        find_checkpoint(path)
    classifier.save_to_preset(str(tmp_path / "preset"))
    weights = tmp_path / "preset" / "model.weights.h5"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(InputError, match="preset: KerasHub cannot load it"):
        find_checkpoint(tmp_path / "preset").read_weights()
    config = tmp_path / "preset" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "registered_name": "keras_hub>Nothing"}))
    with pytest.raises(InputError, match="preset: KerasHub cannot load it"):
        find_checkpoint(tmp_path / "preset")


@pytest.mark.parametrize("preset", ["bert_tiny_en_uncased", "hf://owner/name", "kaggle://owner/bert/keras/variant"])
def test_presets_by_name_go_through_keras_hub(preset, monkeypatch):
    asked = []

    def from_preset(name, **arguments):
        asked.append((name, arguments))
        raise ConnectionError("no network here")

    for loader in (keras_hub.models.TextClassifier, keras_hub.models.Backbone):
        monkeypatch.setattr(loader, "from_preset", from_preset)
    with pytest.raises(InputError, match=r"KerasHub cannot load it \(ConnectionError: no network here\)") as error:
        find_checkpoint(preset)
    assert preset in str(error.value)
    assert asked == [(preset, {"load_weights": False})] * 2  # as a classifier, then as a backbone


def test_without_keras_hub_the_command_to_install_it_is_told(monkeypatch, tmp_path):
    (tmp_path / "config.json").write_text('{"registered_name": "keras_hub>BertBackbone"}')
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    for checkpoint in ("hf://owner/name", tmp_path, tmp_path / "classifier.keras"):
        with pytest.raises(InputError, match="pip install keras-hub"):
            find_checkpoint(checkpoint)
    with pytest.raises(InputError, match="or a preset of KerasHub, where keras-hub is installed"):
        find_checkpoint("bert_base_en_uncased")
