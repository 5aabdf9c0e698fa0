"""Wrong checkpoints: sizes, weights and vocabulary."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from benchmarks.reliability.fuzz import sound_files
from benchmarks.reliability.fuzz.index_checksums import blocks_of, with_checksums
from benchmarks.reliability.fuzz.kinds import Kind, require
from benchmarks.reliability.fuzz.mutations import mutate_bytes, mutate_json, overwrite_bytes, with_length
from powerbert_tf.checkpoints import find_checkpoint, load_classifier
from powerbert_tf.models.architectures import ARCHITECTURES
from powerbert_tf.tokenizers.word_pieces import Tokenizer, is_cased, read_vocabulary


def bert_config(folder: Path) -> Kind:
    """The configuration of a model, of each architecture."""
    places = []
    for architecture, row in ARCHITECTURES.items():
        place = folder / architecture
        place.mkdir(parents=True)
        sound_files.write_hugging_face(place, architecture)
        places.append((place, "config.json"))
        if row.google is not None:
            place = folder / f"google-{architecture}"
            place.mkdir()
            sound_files.write_google(place, architecture)
            places.append((place, row.google.config))
    sound = [json.loads((place / name).read_text(encoding="utf-8")) for place, name in places]
    sound[0] |= {"classifier_dropout": None, "layer_norm_eps": 1e-12, "position_offset": 0, "shares_encoders": False}
    words = [*{key for values in sound for key in values}, *ARCHITECTURES, "gelu", "relu", "BertModel", "architectures"]

    def mutate(draw: random.Random) -> bytes:
        which = draw.randrange(len(places))
        return bytes([which]) + mutate_json(sound[which], draw, words)

    def read(data: bytes) -> None:
        place, name = places[data[0]]
        (place / name).write_bytes(data[1:])
        model = load_classifier(find_checkpoint(place), 2, sound_files.MAX_SEQ_LENGTH)
        require(all(np.all(np.isfinite(weight.numpy())) for weight in model.weights), "weights that are not finite")

    return Kind(tuple(bytes([which]) + json.dumps(values).encode() for which, values in enumerate(sound)), mutate, read)


def _google_file(folder: Path, ending: str) -> tuple[Path, bytes, Callable[[], dict[str, np.ndarray]]]:
    folder.mkdir(parents=True)
    sound_files.write_google(folder)
    path = folder / f"bert_model.ckpt{ending}"
    return path, path.read_bytes(), find_checkpoint(folder).read_weights


def checkpoint_index(folder: Path) -> Kind:
    """The index of a TF1 checkpoint."""
    path, sound, weights = _google_file(folder, ".index")
    expected, blocks = weights(), blocks_of(sound)
    words = [b"bert/encoder/layer_0", b"bert/encoder/layer_9", b"output_bias", b"global_step"]
    protos = (b"\x08\x01", b"\x08\x02", b"\x08\x07", b"\x08\x14", b"\x12\x08\x12\x02\x08", b"\x28", b"\x35")

    def mutate(draw: random.Random) -> bytes:
        if draw.random() < 0.5:
            return mutate_bytes(sound, draw, [*words, *protos])
        first, last = draw.choice(blocks)
        return with_checksums(overwrite_bytes(sound, draw, first, last), blocks)

    def read(data: bytes) -> None:
        path.write_bytes(data)
        found = find_checkpoint(folder).read_weights()
        if data == sound:
            require(all(np.array_equal(expected[name], value) for name, value in found.items()), "other weights")
        load_classifier(folder, 2, sound_files.MAX_SEQ_LENGTH)

    return Kind((sound,), mutate, read)


def checkpoint_data(folder: Path) -> Kind:
    """The data of a TF1 checkpoint."""
    path, sound, weights = _google_file(folder, ".data-00000-of-00001")
    expected = weights()

    def mutate(draw: random.Random) -> bytes:
        return mutate_bytes(sound, draw) if draw.random() < 0.7 else overwrite_bytes(sound, draw, 0, len(sound))

    def read(data: bytes) -> None:
        path.write_bytes(data)
        found = find_checkpoint(folder).read_weights()
        # Each tensor has a checksum; what is behind the last one is read by nobody.
        same = found.keys() == expected.keys() and all(np.array_equal(expected[name], found[name]) for name in found)
        require(same, "other weights than were written")

    return Kind((sound,), mutate, read)


def safetensors(folder: Path) -> Kind:
    """The header of safetensors."""
    folder.mkdir(parents=True)
    sound_files.write_hugging_face(folder)
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    end = 8 + int.from_bytes(whole[:8], "little")
    header, tensors = whole[8:end], whole[end:]
    values = json.loads(header)
    types = ("F64", "F16", "BF16", "I64", "I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F4", "C64", "x")
    words = [*types, "dtype", "shape", "data_offsets", "__metadata__", *list(values)[:3], "classifier.bias"]

    def mutate(draw: random.Random) -> bytes:
        kind = draw.randrange(3)
        if kind == 0:
            changed = mutate_json(values, draw, words)
            changed += b" " * (-len(changed) % 8)
            return with_length(changed) + tensors
        if kind == 1:
            return with_length(mutate_bytes(header, draw, [word.encode() for word in words])) + tensors
        return mutate_bytes(whole[: end + 64], draw) + tensors[64:]

    def read(data: bytes) -> None:
        path.write_bytes(data)
        load_classifier(find_checkpoint(folder), 2, sound_files.MAX_SEQ_LENGTH)

    return Kind((whole,), mutate, read)


def vocabulary(folder: Path) -> Kind:
    """`vocab.txt`."""
    folder.mkdir(parents=True)
    sound_files.write_vocabulary(folder)
    path = folder / "vocab.txt"
    sound = path.read_bytes()
    words = [piece.encode() for piece in sound_files.PIECES] + [
        b"##",
        b"[UNK]\n",
        b"[unused1]\n",
        "é\n".encode(),
        b"\r\n",
    ]
    texts = tf.constant(["a b", "abc É", "", "\0 \u2028x", "x" * 300])

    def mutate(draw: random.Random) -> bytes:
        return mutate_bytes(sound, draw, words)

    def read(data: bytes) -> None:
        path.write_bytes(data)
        pieces = read_vocabulary(path)
        lines = data.removeprefix(b"\xef\xbb\xbf").removesuffix(b"\n").split(b"\n")
        require(pieces == [line.removesuffix(b"\r").decode("utf-8") for line in lines], "other tokens")
        tokenizer = Tokenizer(pieces, lower_case=not is_cased(pieces))
        ids = tokenizer([texts], sound_files.MAX_SEQ_LENGTH)[0].flat_values.numpy()
        require(bool(np.all((ids >= 0) & (ids < len(pieces)))), "ids out of the vocabulary")

    return Kind((sound,), mutate, read)
