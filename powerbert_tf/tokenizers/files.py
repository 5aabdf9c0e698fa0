"""The files of a tokenizer: read and checked against the checkpoint's configuration, and written for other tools.

They are `vocab.txt` for WordPiece, `spiece.model` or `30k-clean.model` for SentencePiece, `vocab.json` and `merges.txt`
for byte pairs. Newer versions of `transformers` write `tokenizer.json`, which holds all of a tokenizer, instead of them
or beside them.
"""

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from powerbert_tf.checkpoints import Checkpoint
from powerbert_tf.common.errors import InputError
from powerbert_tf.common.files import read_object, write_json
from powerbert_tf.common.reporting import say
from powerbert_tf.models.architectures import BYTE_PAIRS, SENTENCE_PIECES, WORD_PIECES
from powerbert_tf.tokenizers.added_tokens import AddedToken
from powerbert_tf.tokenizers.byte_pairs import BytePairTokenizer
from powerbert_tf.tokenizers.hard_texts import compare, compare_with_tokenizers
from powerbert_tf.tokenizers.sentence_pieces import SentencePieceTokenizer
from powerbert_tf.tokenizers.special_tokens import SPECIAL_TOKENS
from powerbert_tf.tokenizers.stated_settings import (
    CLASSES,
    added_tokens,
    named_tokens,
    require_honoured,
    require_honoured_steps,
    require_model,
    tells_segments,
    text_settings,
)
from powerbert_tf.tokenizers.word_pieces import VOCABULARY_HINT, Tokenizer, is_cased, read_vocabulary

_WORD_PIECE_FILE, _PAIRS_FILE, _MERGES_FILE = "vocab.txt", "vocab.json", "merges.txt"
_HUGGING_FACE_SENTENCE_PIECES, _GOOGLE_SENTENCE_PIECES = "spiece.model", "30k-clean.model"
_FILES = {
    WORD_PIECES: (_WORD_PIECE_FILE,),
    SENTENCE_PIECES: (_HUGGING_FACE_SENTENCE_PIECES, _GOOGLE_SENTENCE_PIECES),
    BYTE_PAIRS: (_PAIRS_FILE, _MERGES_FILE),
}
_WHOLE_FILE, _CONFIG_FILE, _ADDED_FILE = "tokenizer.json", "tokenizer_config.json", "added_tokens.json"
_MODELS = {"WordPiece": WORD_PIECES, "BPE": BYTE_PAIRS}  # of a `tokenizer.json` that is enough
_MAP_FILE = "special_tokens_map.json"
_COMPANIONS = (_MAP_FILE, _ADDED_FILE)
# Tables of embeddings are filled up to a multiple of such a number, for speed.
_FILLED_TO, _MOST_FILLED = 8, 128


def load_tokenizer(checkpoint: Checkpoint, case: str = "auto", truncation: str = "head") -> Tokenizer:
    """Loads the tokenizer that a checkpoint was trained with: the one whose files it has, whatever its architecture.

    Args:
        checkpoint: From `find_checkpoint`.
        case: `"cased"`, `"uncased"`, or `"auto"`: as the files say, else as the vocabulary is.
        truncation: What is kept of texts that are too long, see `packing.pack_texts`.

    Raises:
        InputError: A file is missing or damaged, vocabulary, casing and configuration do not fit each other, or a
            setting is not supported.
    """
    if checkpoint.unpack_tokenizer is not None:
        checkpoint = dataclasses.replace(checkpoint, folder=checkpoint.unpack_tokenizer())
    folder, kind = checkpoint.folder, _kind_of(checkpoint)
    stated = _read_if_there(folder / _CONFIG_FILE)
    require_honoured(kind, folder / _CONFIG_FILE, stated)
    require_honoured(kind, folder / _MAP_FILE, _read_if_there(folder / _MAP_FILE))
    whole = folder / _WHOLE_FILE
    content = _read_whole(kind, whole) if whole.is_file() else {}
    with _well_formed(whole):
        in_whole = text_settings(kind, content, case == "auto") if content else {}
    tokenizer = _LOADERS[kind](checkpoint, _Stated(folder, stated, content, in_whole), case)
    tokenizer.truncation, tokenizer.pair_truncation = truncation, checkpoint.pair_truncation
    if not tells_segments(stated) or checkpoint.config.type_vocab_size == 1:
        tokenizer.tells_segments = False
    path, config = tokenizer.files[0], checkpoint.config
    if content:
        _check_same(path, tokenizer.vocabulary, content["model"]["vocab"])
        with _well_formed(whole):
            require_honoured_steps(kind, whole, content)
    _add_tokens(kind, tokenizer, folder, stated, content)
    _check_size(path, tokenizer, config.vocab_size)
    if config.pad_token_id not in (None, tokenizer.pad_id):
        raise InputError(
            f"{path}: the padding token has id {tokenizer.pad_id}; expected {config.pad_token_id}, the pad_token_id of "
            "the checkpoint's configuration; use the vocabulary that came with it."
        )
    if case == "auto" and content:
        compare_with_tokenizers(tokenizer, whole)
    if case == "auto" and checkpoint.ids_of is not None:
        compare(tokenizer, checkpoint.ids_of, f"checkpoint {checkpoint.name}")
    return tokenizer


@dataclasses.dataclass(frozen=True)
class _Stated:
    """What the files of a tokenizer say: `tokenizer_config.json` and `tokenizer.json`, each empty if it is missing.

    `in_whole` are settings of the second one, see `stated_settings.text_settings`.
    """

    folder: Path
    config: Mapping[str, Any]
    whole: Mapping[str, Any]
    in_whole: Mapping[str, bool]

    def of_text(self, name: str) -> bool | None:
        """A setting of how texts are treated; None if neither file has it.

        Raises:
            InputError: The files contradict each other.
        """
        ours, theirs = self.config.get(name), self.in_whole.get(name)
        if None not in (ours, theirs) and bool(ours) != theirs:
            raise InputError(
                f"{self.folder / _CONFIG_FILE}: {name}={ours!r}; the normalizer in {_WHOLE_FILE} beside it does "
                "otherwise; expected the same."
            )
        found = theirs if ours is None else ours
        return None if found is None else bool(found)


def _kind_of(checkpoint: Checkpoint) -> str:
    """The kind of tokenizer that a folder has the files of; of several, or of none, the architecture's."""
    own, folder = checkpoint.architecture.tokenizer, checkpoint.folder
    found = [kind for kind, names in _FILES.items() if any((folder / name).is_file() for name in names)]
    if not found and (folder / _WHOLE_FILE).is_file():
        model = _read_json(folder / _WHOLE_FILE).get("model")
        kind = _MODELS.get(model.get("type", "")) if isinstance(model, dict) else None
        found = [kind] if kind else []
    return own if own in found or not found else found[0]


def _load_word_pieces(checkpoint: Checkpoint, stated: _Stated, case: str) -> Tokenizer:
    path = checkpoint.folder / _WORD_PIECE_FILE
    if stated.whole and not path.is_file():
        path = checkpoint.folder / _WHOLE_FILE
        vocabulary = _in_order(path, stated.whole["model"]["vocab"], SPECIAL_TOKENS[WORD_PIECES].needed)
    else:
        vocabulary = read_vocabulary(path)
    lower_case = _lower_case(stated.of_text("do_lower_case") if case == "auto" else None, case)
    if case == "auto" and lower_case and is_cased(vocabulary):
        raise InputError(
            f"{checkpoint.folder / _CONFIG_FILE}: do_lower_case is true, and {path.name} holds capitals, which that "
            f"would put out of reach; {VOCABULARY_HINT}, or give --case."
        )
    tokenizer = Tokenizer(vocabulary, lower_case, stated.of_text("strip_accents"))
    tokenizer.files = (path,)
    return tokenizer


def _load_sentence_pieces(checkpoint: Checkpoint, stated: _Stated, case: str) -> Tokenizer:
    path = _find(checkpoint, *_FILES[SENTENCE_PIECES])
    lower_case = _lower_case(stated.of_text("do_lower_case") if case == "auto" else None, case)
    keep_accents, plain = bool(stated.of_text("keep_accents")), bool(stated.config.get("plain", False))
    try:
        tokenizer = SentencePieceTokenizer(path.read_bytes(), lower_case, keep_accents, plain and case == "auto")
    except InputError as error:
        raise InputError(f"{path}: {error}; use the model that came with the checkpoint.") from None
    tokenizer.files = (path,)
    return tokenizer


def _load_byte_pairs(checkpoint: Checkpoint, stated: _Stated, case: str) -> Tokenizer:
    if case == "uncased":
        raise InputError(f"--case=uncased: {checkpoint.architecture.title} is cased; expected cased or auto.")
    if stated.whole and not (checkpoint.folder / _PAIRS_FILE).is_file():
        path = merges_path = checkpoint.folder / _WHOLE_FILE
        ids = stated.whole["model"]["vocab"]
        found = stated.whole["model"].get("merges", ())
        merges = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in found]
    else:
        path, merges_path = (_find(checkpoint, name) for name in _FILES[BYTE_PAIRS])
        ids = _read_json(path)
        lines = merges_path.read_text(encoding="utf-8").split("\n")
        merges = [tuple(line.split(" ")) for line in lines if line and not line.startswith("#version")]
    _in_order(path, ids)
    if bad := [merge for merge in merges if len(merge) != 2]:
        raise InputError(f"{merges_path}: {' '.join(bad[0])!r} is not a pair; expected two tokens per line.")
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


def _read_if_there(path: Path) -> dict[str, Any]:
    return _read_json(path) if path.is_file() else {}


@contextlib.contextmanager
def _well_formed(path: Path) -> Iterator[None]:
    """A block that reads a JSON file of a tokenizer, whose damages are one error."""
    try:
        yield
    except InputError:
        raise
    except (AttributeError, IndexError, KeyError, StopIteration, TypeError, ValueError) as error:
        raise InputError(f"{path}: expected a JSON object with a model and its vocab: {error!r}") from None


def _read_whole(kind: str, path: Path) -> dict[str, Any]:
    """Reads a `tokenizer.json`.

    Raises:
        InputError: The file is damaged, or its model has another type.
    """
    with _well_formed(path):
        content = _read_json(path)
        vocabulary = content["model"]["vocab"]
        require_model(kind, path, content)
        if not isinstance(vocabulary, dict if kind != SENTENCE_PIECES else list):
            raise TypeError(type(vocabulary).__name__)
    return content


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


def _check_same(path: Path, vocabulary: Sequence[str], stored: Any) -> None:
    """Checks a vocabulary against that of the `tokenizer.json` beside it."""
    other = path.parent / _WHOLE_FILE
    with _well_formed(other):
        if isinstance(stored, dict):  # token -> id; else [token, score]
            stored = sorted(stored, key=stored.__getitem__)
        else:
            stored = [token for token, _ in stored]
    for number, (here, there) in enumerate(zip(vocabulary, stored, strict=False)):
        if here != there:
            differs = f"entry {number} is {here!r}; {other.name} beside it has {there!r}"
            raise InputError(f"{path}: {differs}; {VOCABULARY_HINT}.")


def _check_size(path: Path, tokenizer: Tokenizer, rows: int) -> None:
    """Checks the size of a vocabulary against the rows of the embeddings, some of which may be there to fill up."""
    found, behind = len(tokenizer.vocabulary), tokenizer.vocabulary[tokenizer.num_pieces :]
    if found == rows:
        return
    if not (found < rows < found + _MOST_FILLED and rows % _FILLED_TO == 0):
        added = f", with the added {', '.join(behind)}" if behind else ""
        raise InputError(
            f"{path}: {found} tokens{added}; expected {rows}, the vocab_size of the checkpoint's configuration. Tokens "
            "that were added belong into added_tokens.json or tokenizer.json."
        )
    say(f"  {path}: {found} tokens for {rows} rows of embeddings; the last {rows - found} stay unused")


def _add_tokens(
    kind: str, tokenizer: Tokenizer, folder: Path, config: Mapping[str, Any], whole: Mapping[str, Any]
) -> None:
    """Adds the tokens that the files of a tokenizer add, in any of the ways of `transformers`."""
    given: dict[Path, list[Any]] = {}
    with _well_formed(folder / _WHOLE_FILE):
        given[folder / _WHOLE_FILE] = list(whole.get("added_tokens") or ())
    with _well_formed(folder / _CONFIG_FILE):
        decoder = config.get("added_tokens_decoder") or {}
        given[folder / _CONFIG_FILE] = [{**token, "id": int(number)} for number, token in decoder.items()]
    path = folder / _ADDED_FILE
    with _well_formed(path):
        given[path] = [{"content": token, "id": int(number)} for token, number in _read_if_there(path).items()]
    found: dict[str, AddedToken] = {}
    for path, tokens in given.items():
        with _well_formed(path):
            for token in added_tokens(kind, path, tokens):
                if found.setdefault(token.content, token).id != token.id:
                    raise InputError(
                        f"{path}: the added token {token.content!r} has id {token.id}; other files of the tokenizer "
                        f"have {found[token.content].id}; expected the same."
                    )
    behind = max([len(tokenizer.vocabulary), *(token.id + 1 for token in found.values())])
    for path, values in ((folder / _CONFIG_FILE, config), (folder / _MAP_FILE, _read_if_there(folder / _MAP_FILE))):
        with _well_formed(path):
            for content in dict.fromkeys(named_tokens(values)):
                if content in found or content in SPECIAL_TOKENS[kind]:
                    continue
                known = content in tokenizer.vocabulary
                number = tokenizer.vocabulary.index(content) if known else behind
                found |= {
                    token.content: token
                    for token in added_tokens(kind, path, [{"content": content, "id": number, "special": True}])
                }
                behind += not known
    try:
        tokenizer.add_tokens(list(found.values()))
    except InputError as error:
        path = next(path for path, tokens in given.items() if tokens)
        raise InputError(f"{path}: {error}; expected the files that came with the checkpoint.") from None


def write_vocabulary(checkpoint: Checkpoint, tokenizer: Tokenizer, folder: Path, google: bool) -> None:
    """Writes the vocabulary files under their names in Google's releases or in Hugging Face's folders."""
    kind = tokenizer.kind
    pieces = tokenizer.vocabulary[: tokenizer.num_pieces]
    if google and len(pieces) < len(tokenizer.vocabulary):
        token = tokenizer.vocabulary[len(pieces)]
        raise InputError(f"the added token {token!r} has no place in Google's format; expected another format.")
    if kind == WORD_PIECES:
        lines = "".join(f"{token}\n" for token in pieces)
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
    kind = tokenizer.kind
    stated = tokenizer.files[0].parent / _CONFIG_FILE  # beside the vocabulary, wherever that was unpacked
    values: dict[str, Any] = {"tokenizer_class": CLASSES[kind][0], "model_max_length": checkpoint.config.max_length}
    if stated.is_file():
        values |= json.loads(stated.read_text(encoding="utf-8"))
    if kind != BYTE_PAIRS:
        values["do_lower_case"] = tokenizer.lower_case
    write_json(folder / _CONFIG_FILE, values)
