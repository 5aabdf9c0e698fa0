"""`tokenizer.json`, the one file that newer versions of `transformers` write of a tokenizer."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from powerbert_tf.errors import InputError
from powerbert_tf.files import read_object

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
