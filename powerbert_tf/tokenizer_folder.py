"""A tokenizer's files under the names that other tools look for."""

import json
import shutil
from pathlib import Path
from typing import Any

from powerbert_tf.architectures import BYTE_PAIRS, SENTENCE_PIECES, WORD_PIECES
from powerbert_tf.checkpoints import Checkpoint
from powerbert_tf.files import write_json
from powerbert_tf.tokenization import Tokenizer
from powerbert_tf.tokenizer_files import GOOGLE_SENTENCE_PIECES, HUGGING_FACE_SENTENCE_PIECES

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
