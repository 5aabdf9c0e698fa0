"""`tokenizer.json`, the one file that newer versions of `transformers` write of a tokenizer.

From a checkpoint to its tokenizer: the files of each kind, checked against each other and the configuration.
A tokenizer's files under the names that other tools look for.
"""

import dataclasses
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from powerbert_tf.checkpoints import Checkpoint
from powerbert_tf.common.errors import InputError
from powerbert_tf.common.files import read_object, write_json
from powerbert_tf.models.architectures import BYTE_PAIRS, SENTENCE_PIECES, WORD_PIECES
from powerbert_tf.tokenizers.byte_pairs import BytePairTokenizer
from powerbert_tf.tokenizers.sentence_pieces import SentencePieceTokenizer
from powerbert_tf.tokenizers.word_pieces import SPECIAL_TOKENS, Tokenizer, is_cased, read_vocabulary

TOKENIZER_JSON = "tokenizer.json"


def read_tokenizer_json(path: Path, kind: str) -> dict[str, Any]:
    """Reads the model of a tokenizer.

    Args:
        path: The file.
        kind: The model's type: `"WordPiece"` or `"BPE"`.

    Returns:
        `vocab` (token -> id), `merges` (pairs of tokens, of byte pairs), and of word-pieces `do_lower_case` and
        `strip_accents` where the file tells.

    Raises:
        InputError: The file is damaged, or of another type.
    """
    try:
        content = read_object(path)
        model = content["model"]
        found, vocabulary = model.get("type", kind), model["vocab"]
        if found != kind or not isinstance(vocabulary, dict):
            raise InputError(f"{path}: a tokenizer of type {found}; expected {kind}.")
        merges = [tuple(merge.split(" ") if isinstance(merge, str) else merge) for merge in model.get("merges", ())]
        normalizers = [step for step in _steps(content.get("normalizer")) if step.get("type") == "BertNormalizer"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: expected a JSON object with a model and its vocab: {error!r}") from None
    stated = {"do_lower_case": "lowercase", "strip_accents": "strip_accents"}
    said = {ours: step[theirs] for step in normalizers for ours, theirs in stated.items() if theirs in step}
    return {"vocab": vocabulary, "merges": merges, **said}


def pieces_in_order(path: Path, ids: Mapping[str, int], needed: Sequence[str] = ()) -> list[str]:
    """Tokens in the order of their ids.

    Args:
        path: Of the file, for messages.
        ids: Token -> id.
        needed: Tokens that have to be there.

    Raises:
        InputError: The ids are not 0, 1 and so on, or a token is missing.
    """
    if sorted(ids.values(), key=str) != sorted(range(len(ids)), key=str):
        raise InputError(
            f"{path}: expected a JSON object of tokens and their ids, each from 0 to one below their number."
        )
    missing = [token for token in needed if token not in ids]
    if missing:
        raise InputError(f"{path}: lacks {' and '.join(missing)}; use the vocabulary that came with the checkpoint.")
    return sorted(ids, key=ids.__getitem__)


def _steps(normalizer: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    return [] if normalizer is None else normalizer.get("normalizers", [normalizer])


HUGGING_FACE_SENTENCE_PIECES, GOOGLE_SENTENCE_PIECES = "spiece.model", "30k-clean.model"


def load_tokenizer(checkpoint: Checkpoint, case: str = "auto", truncation: str = "head") -> Tokenizer:
    """The tokenizer that a checkpoint was trained with.

    Args:
        checkpoint: From `find_checkpoint`.
        case: `"cased"`, `"uncased"`, or `"auto"`: as `tokenizer_config.json` says, else as the vocabulary is.
        truncation: Of texts that are too long, see `packing.pack_texts`.

    Raises:
        InputError: A file is missing or damaged, or vocabulary, casing and configuration do not fit each other.
    """
    if checkpoint.unpack_tokenizer is not None:
        checkpoint = dataclasses.replace(checkpoint, folder=checkpoint.unpack_tokenizer())
    tokenizer, path, vocabulary = _LOADERS[checkpoint.architecture.tokenizer](checkpoint, case)
    tokenizer.truncation = truncation
    tokenizer.files = tokenizer.files or (path,)
    config = checkpoint.config
    if len(vocabulary) != config.vocab_size:
        raise InputError(
            f"{path}: {len(vocabulary)} word-pieces; expected {config.vocab_size}, the vocab_size of the checkpoint's "
            "configuration."
        )
    _check_same(path, vocabulary)
    if config.pad_token_id not in (None, tokenizer.pad_id):
        raise InputError(
            f"{path}: the padding token has id {tokenizer.pad_id}; expected {config.pad_token_id}, the pad_token_id of "
            "the checkpoint's configuration; use the vocabulary that came with it."
        )
    return tokenizer


def _word_pieces(checkpoint: Checkpoint, case: str) -> tuple[Tokenizer, Path, Sequence[str]]:
    path, settings = checkpoint.folder / "vocab.txt", dict(_tokenizer_config(checkpoint.folder))
    if _is_whole(checkpoint, path):
        path = checkpoint.folder / TOKENIZER_JSON
        settings |= read_tokenizer_json(path, "WordPiece")
        vocabulary = pieces_in_order(path, settings["vocab"], SPECIAL_TOKENS)
    else:
        vocabulary = read_vocabulary(path)
    stated = settings.get("do_lower_case")
    if case != "auto":
        lower_case = case == "uncased"
    elif stated is None:
        lower_case = not is_cased(vocabulary)
    elif stated and is_cased(vocabulary):
        raise InputError(
            f"{checkpoint.folder / 'tokenizer_config.json'}: do_lower_case is true, and {path.name} holds capitals, "
            "which that would put out of reach; use the vocabulary that came with the checkpoint, or give --case."
        )
    else:
        lower_case = bool(stated)
    return Tokenizer(vocabulary, lower_case, strip_accents=settings.get("strip_accents")), path, vocabulary


def _sentence_pieces(checkpoint: Checkpoint, case: str) -> tuple[Tokenizer, Path, Sequence[str]]:
    path = _find(checkpoint, HUGGING_FACE_SENTENCE_PIECES, GOOGLE_SENTENCE_PIECES)
    stated = _tokenizer_config(checkpoint.folder)
    lower_case = stated.get("do_lower_case") if case == "auto" else case == "uncased"
    plain = case == "auto" and bool(stated.get("plain", False))
    keep_accents = bool(stated.get("keep_accents", False))
    try:
        tokenizer = SentencePieceTokenizer(path.read_bytes(), lower_case, keep_accents, plain)
    except InputError as error:
        raise InputError(f"{path}: {error}; use the model that came with the checkpoint.") from None
    return tokenizer, path, tokenizer.pieces


def _byte_pairs(checkpoint: Checkpoint, case: str) -> tuple[Tokenizer, Path, Sequence[str]]:
    if case == "uncased":
        raise InputError(f"--case=uncased: {checkpoint.architecture.title} is cased; expected cased or auto.")
    if _is_whole(checkpoint, checkpoint.folder / "vocab.json"):
        path = merges_path = checkpoint.folder / TOKENIZER_JSON
        content = read_tokenizer_json(path, "BPE")
        ids, merges = content["vocab"], content["merges"]
    else:
        path, merges_path = _find(checkpoint, "vocab.json"), _find(checkpoint, "merges.txt")
        ids = _read_json(path)
        lines = merges_path.read_text(encoding="utf-8").split("\n")
        merges = [tuple(line.split(" ")) for line in lines if line and not line.startswith("#version")]
    pieces_in_order(path, ids)
    if bad := [merge for merge in merges if len(merge) != 2]:
        raise InputError(f"{merges_path}: {' '.join(bad[0])!r} is no pair; expected two tokens a line.")
    try:
        tokenizer = BytePairTokenizer(ids, [(a, b) for a, b in merges])
    except InputError as error:
        raise InputError(f"{path}: {error}; use the vocabulary that came with the checkpoint.") from None
    tokenizer.files = tuple(dict.fromkeys((path, merges_path)))
    return tokenizer, path, tokenizer.pieces


_LOADERS = {WORD_PIECES: _word_pieces, SENTENCE_PIECES: _sentence_pieces, BYTE_PAIRS: _byte_pairs}


def _is_whole(checkpoint: Checkpoint, path: Path) -> bool:
    """Whether all of the tokenizer is in its `tokenizer.json`."""
    return not path.is_file() and (checkpoint.folder / TOKENIZER_JSON).is_file()


def _find(checkpoint: Checkpoint, *names: str) -> Path:
    """The first of these files that is there."""
    for name in names:
        if (checkpoint.folder / name).is_file():
            return checkpoint.folder / name
    raise InputError(
        f"{checkpoint.folder / names[0]}: no such file; the tokenizer of {checkpoint.architecture.title} needs it; "
        "fetch it from where the checkpoint came from."
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return read_object(path)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None


def _tokenizer_config(folder: Path) -> Mapping[str, Any]:
    path = folder / "tokenizer_config.json"
    return _read_json(path) if path.is_file() else {}


def _check_same(path: Path, vocabulary: Sequence[str]) -> None:
    """Checks a vocabulary against the `tokenizer.json` beside it, if any: another one may have as many entries."""
    other = path.parent / "tokenizer.json"
    if not other.is_file():
        return
    try:
        stored = _read_json(other).get("model", {}).get("vocab", {})
        if isinstance(stored, dict):  # token -> id; else [token, score]
            stored = sorted(stored, key=stored.__getitem__)
        else:
            stored = [token for token, _ in stored]
    except (AttributeError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{other}: expected a JSON object with a model and its vocab: {error!r}") from None
    for number, (here, there) in enumerate(zip(vocabulary, stored, strict=False)):
        if here != there:
            raise InputError(
                f"{path}: entry {number} is {here!r}; {other.name} beside it has {there!r}; use the vocabulary "
                "that came with the checkpoint."
            )


_CONFIG_FILE, _WHOLE_FILE = "tokenizer_config.json", "tokenizer.json"
_COMPANIONS = ("special_tokens_map.json", "added_tokens.json")
_CLASSES = {WORD_PIECES: "BertTokenizer", SENTENCE_PIECES: "AlbertTokenizer", BYTE_PAIRS: "RobertaTokenizer"}


def write_vocabulary(checkpoint: Checkpoint, tokenizer: Tokenizer, folder: Path, google: bool) -> None:
    """Writes what the tokenizer was read from, named as in Google's releases or in Hugging Face's folders."""
    kind = checkpoint.architecture.tokenizer
    if kind == WORD_PIECES:
        (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in tokenizer.pieces), "utf-8", newline="\n")
        return
    for path in tokenizer.files:
        name = path.name
        if kind == SENTENCE_PIECES:
            name = GOOGLE_SENTENCE_PIECES if google else HUGGING_FACE_SENTENCE_PIECES
        shutil.copyfile(path, folder / name)


def write_tokenizer_folder(checkpoint: Checkpoint, tokenizer: Tokenizer, folder: Path) -> None:
    """Writes the tokenizer as a Hugging Face folder has it: vocabulary, `tokenizer_config.json`, and what came along.

    Args:
        checkpoint: Whose tokenizer it is; files that only `transformers` reads come from its folder.
        tokenizer: Its case goes before what the checkpoint says.
        folder: An existing folder.
    """
    write_vocabulary(checkpoint, tokenizer, folder, google=False)
    for name in _COMPANIONS:
        if (checkpoint.folder / name).is_file():
            shutil.copyfile(checkpoint.folder / name, folder / name)
    whole = checkpoint.folder / _WHOLE_FILE
    if whole.is_file() and _lower_cases(whole) in (None, tokenizer.lower_case):
        shutil.copyfile(whole, folder / _WHOLE_FILE)
    kind = checkpoint.architecture.tokenizer
    stated = tokenizer.files[0].parent / _CONFIG_FILE  # beside the vocabulary, wherever that was unpacked
    values: dict[str, Any] = {"tokenizer_class": _CLASSES[kind], "model_max_length": checkpoint.config.max_length}
    if stated.is_file():
        values |= json.loads(stated.read_text(encoding="utf-8"))
    if kind != BYTE_PAIRS:
        values["do_lower_case"] = tokenizer.lower_case
    write_json(folder / _CONFIG_FILE, values)


def _lower_cases(path: Path) -> bool | None:
    """Whether a `tokenizer.json` lower-cases, where its normalizer says so itself."""
    normalizer = json.loads(path.read_text(encoding="utf-8")).get("normalizer")
    return normalizer.get("lowercase") if isinstance(normalizer, dict) else None
