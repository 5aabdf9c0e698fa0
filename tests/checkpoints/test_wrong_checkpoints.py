"""A wrong checkpoint, of each architecture: one clear error, before any weight is used; and nothing is unpickled."""

import ast
import io
import itertools
import json
import pickle
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tiny_family import KINDS, NUM_LABELS, google_albert_variables, write_family_checkpoint, write_google_albert
from tiny_pieces import sample_texts, train_sentence_pieces

from powerbert_tf import load_classifier
from powerbert_tf.checkpoints import find_checkpoint
from powerbert_tf.common.errors import InputError
from powerbert_tf.models.architectures import ARCHITECTURES
from powerbert_tf.tokenizers.files import load_tokenizer

N = 23
PACKAGE = Path(__file__).resolve().parents[2] / "powerbert_tf"
FAMILY = {"bert": "bert", "albert": "albert v2", "distilbert": "distilbert", "roberta": "roberta", "electra": "electra"}
EACH = pytest.mark.parametrize("architecture", FAMILY)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A good checkpoint of each architecture."""
    folder = tmp_path_factory.mktemp("good")
    for architecture, name in FAMILY.items():
        write_family_checkpoint(folder / architecture, KINDS[name])
    return folder


@pytest.fixture
def copy(good, tmp_path):
    def copied(architecture):
        return Path(shutil.copytree(good / architecture, tmp_path / architecture))

    return copied


def assert_refused(folder, message):
    with pytest.raises(InputError, match=message) as caught:
        load_classifier(folder, NUM_LABELS, N)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)  # it says which


def change(folder, change):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def test_each_architecture_is_here():
    assert FAMILY.keys() == ARCHITECTURES.keys()


@EACH
@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_a_truncated_file(architecture, share, copy):
    path = copy(architecture) / "model.safetensors"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert_refused(path.parent, r"model\.safetensors: cannot be read; damaged or truncated\?")


@EACH
def test_a_missing_tensor(architecture, copy):
    folder = copy(architecture)
    [name, *_] = [name for name in load_file(folder / "model.safetensors") if "word_embeddings" in name]
    change(folder, lambda tensors: tensors.pop(name))
    assert_refused(folder, r"lacks embeddings/word_embeddings\.")


@EACH
def test_an_extra_tensor(architecture, copy):
    folder = copy(architecture)
    change(folder, lambda tensors: tensors.update({f"{architecture}.adapter.weight": np.ones((3, 5), "float32")}))
    title = ARCHITECTURES[architecture].title
    assert_refused(folder, rf"holds tensors that do not belong to this {title}: {architecture}\.adapter\.weight\.")


@EACH
def test_one_encoder_too_many(architecture, copy):
    """As a configuration says that was cut short: what is left over is reported, not ignored."""
    folder = copy(architecture)
    path = folder / "config.json"
    values = json.loads(path.read_text())
    values["n_layers" if architecture == "distilbert" else "num_hidden_layers"] = 2
    path.write_text(json.dumps(values))
    if ARCHITECTURES[architecture].fixed.get("shares_encoders"):
        assert len(load_classifier(folder, NUM_LABELS, N).encoders) == 2  # one set of weights, however many
    else:
        assert_refused(folder, r"holds tensors that do not belong to this .*layer\.2\.")


@pytest.mark.parametrize(("architecture", "other"), list(itertools.permutations(FAMILY, 2)))
def test_weights_of_another_architecture(architecture, other, copy):
    folder = copy(architecture)
    shutil.copyfile(copy(other) / "model.safetensors", folder / "model.safetensors")
    ours, theirs = (ARCHITECTURES[name].title for name in (architecture, other))
    assert_refused(folder, rf"holds the weights of a {theirs}; the configuration beside it is a {ours}'s")


@EACH
def test_half_precision_is_taken(architecture, copy):
    folder = copy(architecture)
    expected = load_file(folder / "model.safetensors")
    change(folder, lambda tensors: tensors.update({name: a.astype("float16") for name, a in expected.items()}))
    model = load_classifier(folder, NUM_LABELS, N)
    assert {weight.dtype for weight in model.weights} == {"float32"}


class _Bomb:
    def __reduce__(self):
        return sys.exit, ("unpickled",)


def _zipped():
    """As PyTorch saves today."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(_Bomb()))
    return content.getvalue()


@EACH
@pytest.mark.parametrize("content", [pickle.dumps(_Bomb()), _zipped()], ids=["old", "zipped"])
def test_a_pickle_is_named_and_not_read(architecture, content, copy):
    folder = copy(architecture)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(content)
    assert_refused(
        folder, r"model\.safetensors: no such file \(pytorch_model\.bin is a pickle, which is never loaded: convert"
    )
    (folder / "pytorch_model.bin").rename(folder / "model.safetensors")
    assert_refused(folder, r"model\.safetensors: cannot be read; damaged or truncated\?")


@EACH
def test_a_pickle_beside_the_weights_is_let_alone(architecture, copy):
    folder = copy(architecture)
    expected = load_classifier(folder, NUM_LABELS, N).get_weights()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(_Bomb()))
    found = load_classifier(folder, NUM_LABELS, N).get_weights()
    for value, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(value, wanted)


@pytest.fixture
def google_albert(good, tmp_path):
    import transformers

    theirs = transformers.AlbertForSequenceClassification.from_pretrained(good / "albert")
    write_google_albert(tmp_path / "google", KINDS["albert v2"], google_albert_variables(theirs))
    return tmp_path / "google"


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])  # the last tenth is of pretraining's heads
@pytest.mark.parametrize("file", ["model.ckpt-best.data-00000-of-00001", "model.ckpt-best.index"])
def test_a_truncated_albert_of_google(file, share, google_albert):
    path = google_albert / file
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert_refused(google_albert, r"cannot be read; damaged or truncated\?")


@pytest.mark.parametrize("file", ["model.ckpt-best.data-00000-of-00001", "model.ckpt-best.index"])
def test_a_pickle_in_googles_place_is_not_read(file, google_albert):
    (google_albert / file).write_bytes(pickle.dumps(_Bomb()))
    assert_refused(google_albert, r"cannot be read; damaged or truncated\?")


def test_a_bert_under_alberts_name(google_albert, tmp_path):
    from tiny_bert import random_weights, tiny_config, write_google_checkpoint

    write_google_checkpoint(tmp_path / "bert", tiny_config(), random_weights(tiny_config()))
    for path in (tmp_path / "bert").glob("bert_model.ckpt.*"):
        shutil.copyfile(path, google_albert / path.name.replace("bert_model.ckpt", "model.ckpt-best"))
    assert_refused(google_albert, r"holds variables that do not belong to this ALBERT: bert/encoder/layer_0/")


def test_a_swapped_vocabulary_of_albert(google_albert):
    """Of another size; of the same size `tokenizer.json` shows it, see test_tokenizer_files.py."""
    texts = sample_texts()
    (google_albert / "30k-clean.model").write_bytes(train_sentence_pieces(211, [text.lower() for text in texts]))
    with pytest.raises(InputError, match=r"30k-clean\.model: 211 tokens; expected 97, the vocab_size"):
        load_tokenizer(find_checkpoint(google_albert))


def test_nothing_here_can_unpickle():
    """No module imports a pickle's reader, or asks one of NumPy, PyTorch or pandas."""
    readers = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert not readers & {alias.name.split(".")[0] for alias in node.names}, path
            elif isinstance(node, ast.ImportFrom):
                assert node.module.split(".")[0] not in readers, path
            elif isinstance(node, ast.keyword):
                assert node.arg != "allow_pickle" or ast.unparse(node.value) == "False", path
            elif isinstance(node, ast.Attribute):
                assert node.attr != "read_pickle", path
                assert ast.unparse(node) != "torch.load", path
