"""The files of a tokenizer: read and checked against the checkpoint's configuration, and written for other tools.

They are `vocab.txt` for WordPiece, `spiece.model` or `30k-clean.model` for SentencePiece, `vocab.json` and `merges.txt`
for byte pairs. Newer versions of `transformers` write `tokenizer.json`, which holds all of a tokenizer, instead of them
or beside them.
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
from powerbert_tf.tokenizers.stated_settings import CLASSES, require_honoured, require_honoured_steps
from powerbert_tf.tokenizers.word_pieces import SPECIAL_TOKENS, VOCABULARY_HINT, Tokenizer, is_cased, read_vocabulary

_WORD_PIECE_FILE, _PAIRS_FILE, _MERGES_FILE = "vocab.txt", "vocab.json", "merges.txt"
_HUGGING_FACE_SENTENCE_PIECES, _GOOGLE_SENTENCE_PIECES = "spiece.model", "30k-clean.model"
_WHOLE_FILE, _CONFIG_FILE = "tokenizer.json", "tokenizer_config.json"
_COMPANIONS = ("special_tokens_map.json", "added_tokens.json")


def load_tokenizer(checkpoint: Checkpoint, case: str = "auto", truncation: str = "head") -> Tokenizer:
    """Loads the tokenizer that a checkpoint was trained with.

    Args:
        checkpoint: From `find_checkpoint`.
        case: `"cased"`, `"uncased"`, or `"auto"`: as `tokenizer_config.json` says, else as the vocabulary is.
        truncation: What is kept of texts that are too long, see `packing.pack_texts`.

    Raises:
        InputError: A file is missing or damaged, or vocabulary, casing and configuration do not fit each other.
    """
    if checkpoint.unpack_tokenizer is not None:
        checkpoint = dataclasses.replace(checkpoint, folder=checkpoint.unpack_tokenizer())
    kind = checkpoint.architecture.tokenizer
    require_honoured(kind, checkpoint.folder / _CONFIG_FILE, _tokenizer_config(checkpoint.folder))
    tokenizer = _LOADERS[kind](checkpoint, case)
    tokenizer.truncation = truncation
    path, config = tokenizer.files[0], checkpoint.config
    if len(tokenizer.vocabulary) != config.vocab_size:
        raise InputError(
            f"{path}: {len(tokenizer.vocabulary)} tokens; expected {config.vocab_size}, the vocab_size of the "
            "checkpoint's configuration."
        )
    _check_same(kind, path, tokenizer.vocabulary)
    if config.pad_token_id not in (None, tokenizer.pad_id):
        raise InputError(
            f"{path}: the padding token has id {tokenizer.pad_id}; expected {config.pad_token_id}, the pad_token_id of "
            "the checkpoint's configuration; use the vocabulary that came with it."
        )
    return tokenizer


def _load_word_pieces(checkpoint: Checkpoint, case: str) -> Tokenizer:
    settings = dict(_tokenizer_config(checkpoint.folder))
    if whole := _whole_file(checkpoint, _WORD_PIECE_FILE):
        path = whole
        settings |= _read_whole(path, "WordPiece")
        vocabulary = _in_order(path, settings["vocab"], SPECIAL_TOKENS)
    else:
        path = checkpoint.folder / _WORD_PIECE_FILE
        vocabulary = read_vocabulary(path)
    stated = settings.get("do_lower_case")
    if case == "auto" and stated and is_cased(vocabulary):
        raise InputError(
            f"{checkpoint.folder / _CONFIG_FILE}: do_lower_case is true, and {path.name} holds capitals, which that "
            f"would put out of reach; {VOCABULARY_HINT}, or give --case."
        )
    tokenizer = Tokenizer(vocabulary, _lower_case(stated, case), settings.get("strip_accents"))
    tokenizer.files = (path,)
    return tokenizer


def _load_sentence_pieces(checkpoint: Checkpoint, case: str) -> Tokenizer:
    path = _find(checkpoint, _HUGGING_FACE_SENTENCE_PIECES, _GOOGLE_SENTENCE_PIECES)
    stated = _tokenizer_config(checkpoint.folder)
    lower_case = _lower_case(stated.get("do_lower_case"), case)
    keep_accents, plain = (bool(stated.get(name, False)) for name in ("keep_accents", "plain"))
    try:
        tokenizer = SentencePieceTokenizer(path.read_bytes(), lower_case, keep_accents, plain and case == "auto")
    except InputError as error:
        raise InputError(f"{path}: {error}; use the model that came with the checkpoint.") from None
    tokenizer.files = (path,)
    return tokenizer


def _load_byte_pairs(checkpoint: Checkpoint, case: str) -> Tokenizer:
    if case == "uncased":
        raise InputError(f"--case=uncased: {checkpoint.architecture.title} is cased; expected cased or auto.")
    if whole := _whole_file(checkpoint, _PAIRS_FILE):
        path = merges_path = whole
        content = _read_whole(path, "BPE")
        ids, merges = content["vocab"], content["merges"]
    else:
        path, merges_path = _find(checkpoint, _PAIRS_FILE), _find(checkpoint, _MERGES_FILE)
        ids = _read_json(path)
        lines = merges_path.read_text(encoding="utf-8").split("\n")
        merges = [tuple(line.split(" ")) for line in lines if line and not line.startswith("#version")]
    _in_order(path, ids)
    if bad := [merge for merge in merges if len(merge) != 2]:
        raise InputError(f"{merges_path}: {' '.join(bad[0])!r} is no pair; expected two tokens a line.")
    try:
        tokenizer = BytePairTokenizer(ids, [(a, b) for a, b in merges])
    except InputError as error:
        raise InputError(f"{path}: {error}; {VOCABULARY_HINT}.") from None
    tokenizer.files = tuple(dict.fromkeys((path, merges_path)))
    return tokenizer


_LOADERS = {WORD_PIECES: _load_word_pieces, SENTENCE_PIECES: _load_sentence_pieces, BYTE_PAIRS: _load_byte_pairs}


def _lower_case(stated: Any, case: str) -> bool | None:
    """Whether to lower-case texts; None if neither the flag nor the configuration says so."""
    if case != "auto":
        return case == "uncased"
    return None if stated is None else bool(stated)


def _whole_file(checkpoint: Checkpoint, name: str) -> Path | None:
    """The `tokenizer.json` of a checkpoint that lacks the file `name`."""
    path = checkpoint.folder / _WHOLE_FILE
    return path if path.is_file() and not (checkpoint.folder / name).is_file() else None


def _find(checkpoint: Checkpoint, *names: str) -> Path:
    """The first of these files that exists."""
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
    path = folder / _CONFIG_FILE
    return _read_json(path) if path.is_file() else {}


def _read_whole(path: Path, kind: str) -> dict[str, Any]:
    """Reads a `tokenizer.json` whose model has the type `kind`, `"WordPiece"` or `"BPE"`.

    Returns:
        `vocab` (token -> id), `merges` (pairs of tokens, for byte pairs), and `do_lower_case` and `strip_accents` if
        the file has them.

    Raises:
        InputError: The file is damaged, or its model has another type.
    """
    try:
        content = read_object(path)
        model = content["model"]
        found, vocabulary = model.get("type", kind), model["vocab"]
        if found != kind or not isinstance(vocabulary, dict):
            raise InputError(f"{path}: a tokenizer of type {found}; expected {kind}.")
        merges = [tuple(merge.split(" ") if isinstance(merge, str) else merge) for merge in model.get("merges", ())]
        normalizer = content.get("normalizer") or {}
        steps = [step for step in normalizer.get("normalizers", [normalizer]) if step.get("type") == "BertNormalizer"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, error) from None
    names = {"do_lower_case": "lowercase", "strip_accents": "strip_accents"}
    stated = {ours: step[theirs] for step in steps for ours, theirs in names.items() if theirs in step}
    return {"vocab": vocabulary, "merges": merges, **stated}


def _damaged(path: Path, error: Exception) -> InputError:
    """The error to raise for a `tokenizer.json` that cannot be read."""
    if isinstance(error, InputError):
        return error
    return InputError(f"{path}: expected a JSON object with a model and its vocab: {error!r}")


def _in_order(path: Path, ids: Mapping[str, int], needed: Sequence[str] = ()) -> list[str]:
    """Tokens in the order of their ids.

    Raises:
        InputError: The ids are not 0, 1 and so on, or one of the tokens `needed` is missing.
    """
    if sorted(ids.values(), key=str) != sorted(range(len(ids)), key=str):
        raise InputError(
            f"{path}: expected a JSON object of tokens and their ids, each from 0 to one below their number."
        )
    missing = [token for token in needed if token not in ids]
    if missing:
        raise InputError(f"{path}: lacks {' and '.join(missing)}; {VOCABULARY_HINT}.")
    return sorted(ids, key=ids.__getitem__)


def _check_same(kind: str, path: Path, vocabulary: Sequence[str]) -> None:
    """Checks a tokenizer against the `tokenizer.json` beside it, if any: its vocabulary and its steps."""
    other = path.parent / _WHOLE_FILE
    if not other.is_file():
        return
    try:
        content = _read_json(other)
        stored = content.get("model", {}).get("vocab", {})
        if isinstance(stored, dict):  # token -> id; else [token, score]
            stored = sorted(stored, key=stored.__getitem__)
        else:
            stored = [token for token, _ in stored]
    except (AttributeError, TypeError, ValueError) as error:
        raise _damaged(other, error) from None
    for number, (here, there) in enumerate(zip(vocabulary, stored, strict=False)):
        if here != there:
            differs = f"entry {number} is {here!r}; {other.name} beside it has {there!r}"
            raise InputError(f"{path}: {differs}; {VOCABULARY_HINT}.")
    try:
        require_honoured_steps(kind, other, content)
    except (AttributeError, KeyError, TypeError) as error:
        raise _damaged(other, error) from None


def write_vocabulary(checkpoint: Checkpoint, tokenizer: Tokenizer, folder: Path, google: bool) -> None:
    """Writes the vocabulary files under their names in Google's releases or in Hugging Face's folders."""
    kind = checkpoint.architecture.tokenizer
    if kind == WORD_PIECES:
        lines = "".join(f"{token}\n" for token in tokenizer.vocabulary)
        (folder / _WORD_PIECE_FILE).write_text(lines, "utf-8", newline="\n")
        return
    for path in tokenizer.files:
        name = path.name
        if kind == SENTENCE_PIECES:
            name = _GOOGLE_SENTENCE_PIECES if google else _HUGGING_FACE_SENTENCE_PIECES
        shutil.copyfile(path, folder / name)


def write_tokenizer_folder(checkpoint: Checkpoint, tokenizer: Tokenizer, folder: Path) -> None:
    """Writes a tokenizer as in a Hugging Face folder: vocabulary, `tokenizer_config.json`, and the checkpoint's others.

    The tokenizer's case overrides that of the files. Files that only `transformers` reads come from the checkpoint's
    folder.
    """
    write_vocabulary(checkpoint, tokenizer, folder, google=False)
    copied = [name for name in _COMPANIONS if (checkpoint.folder / name).is_file()]
    whole = checkpoint.folder / _WHOLE_FILE
    if whole.is_file():
        normalizer = json.loads(whole.read_text(encoding="utf-8")).get("normalizer")
        lower_case = normalizer.get("lowercase") if isinstance(normalizer, dict) else None
        if lower_case in (None, tokenizer.lower_case):
            copied.append(_WHOLE_FILE)
    for name in copied:
        shutil.copyfile(checkpoint.folder / name, folder / name)
    kind = checkpoint.architecture.tokenizer
    stated = tokenizer.files[0].parent / _CONFIG_FILE  # beside the vocabulary, wherever that was unpacked
    values: dict[str, Any] = {"tokenizer_class": CLASSES[kind][0], "model_max_length": checkpoint.config.max_length}
    if stated.is_file():
        values |= json.loads(stated.read_text(encoding="utf-8"))
    if kind != BYTE_PAIRS:
        values["do_lower_case"] = tokenizer.lower_case
    write_json(folder / _CONFIG_FILE, values)
