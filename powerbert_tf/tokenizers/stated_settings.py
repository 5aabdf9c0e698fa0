"""What the files of a tokenizer say beside its vocabulary: settings that are honoured, and those that are refused.

`tokenizer_config.json` holds arguments of a class of `transformers`; `tokenizer.json` all steps of a tokenizer. Nothing
in them that changes ids is passed over: what is not done here is refused by name.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from powerbert_tf.common.errors import InputError
from powerbert_tf.models.architectures import BYTE_PAIRS, SENTENCE_PIECES, WORD_PIECES

# Tokens with a place of their own; others that were added would be cut into pieces.
_SPECIAL = {
    WORD_PIECES: ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    SENTENCE_PIECES: ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"),
    BYTE_PAIRS: ("<s>", "<pad>", "</s>", "<unk>", "<mask>"),
}
CLASSES = {  # of `transformers`; the first one is written
    WORD_PIECES: ("BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer"),
    SENTENCE_PIECES: ("AlbertTokenizer",),
    BYTE_PAIRS: ("RobertaTokenizer",),
}
_ANY_CLASS = ("PreTrainedTokenizer", "PreTrainedTokenizerBase", "TokenizersBackend")
# Setting -> the only value that is done here; a setting that is missing or null has it.
_ONLY: Mapping[str, Mapping[str, Any]] = {
    WORD_PIECES: {"tokenize_chinese_chars": True, "do_basic_tokenize": True, "never_split": []},
    SENTENCE_PIECES: {"remove_space": True, "sp_model_kwargs": {}},
    BYTE_PAIRS: {"add_prefix_space": False},
}
_ONLY_IN_ALL: Mapping[str, Any] = {"truncation_side": "right", "split_special_tokens": False}
# Step of a `tokenizer.json` -> its type, and the only values of its settings.
_STEPS: Mapping[str, Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    WORD_PIECES: {
        "normalizer": ("BertNormalizer", {"clean_text": True, "handle_chinese_chars": True}),
        "pre_tokenizer": ("BertPreTokenizer", {}),
    },
    BYTE_PAIRS: {"pre_tokenizer": ("ByteLevel", {"add_prefix_space": False, "use_regex": True})},
}
# How inputs are put together, by `TemplateProcessing`; the other types do the same.
_TEMPLATES = {
    WORD_PIECES: ("[CLS] A [SEP]", "[CLS] A [SEP] B [SEP]"),
    BYTE_PAIRS: ("<s> A </s>", "<s> A </s> </s> B </s>"),
}
_PROCESSORS = {WORD_PIECES: ("BertProcessing",), BYTE_PAIRS: ("RobertaProcessing",)}


def require_honoured(kind: str, path: Path, config: Mapping[str, Any]) -> None:
    """Checks a `tokenizer_config.json`.

    Args:
        kind: Of the tokenizer, see `models.architectures`.
        path: Of the file, for messages.
        config: Its content.

    Raises:
        InputError: A setting would give other ids than it asks for.
    """
    name = str(config.get("tokenizer_class") or "").removesuffix("Fast")
    if name and name not in (*CLASSES[kind], *_ANY_CLASS):
        raise InputError(f"{path}: tokenizer_class={name}; expected {' or '.join(CLASSES[kind])}.")
    for setting, value in (*_ONLY[kind].items(), *_ONLY_IN_ALL.items()):
        stated = config.get(setting)
        if stated is not None and stated != value:
            raise InputError(f"{path}: {setting}={stated!r} is not supported; expected {value!r}.")
    for token in _added_tokens(config):
        if token not in _SPECIAL[kind]:
            raise InputError(f"{path}: the added token {token!r} is not supported; expected {_listed(kind)} alone.")


def require_honoured_steps(kind: str, path: Path, content: Mapping[str, Any]) -> None:
    """Checks a `tokenizer.json`, of WordPiece or byte pairs; SentencePiece is read from a file of its own.

    Raises:
        InputError: A step would give other ids than it asks for.
    """
    for token in content.get("added_tokens") or ():
        if token["content"] not in _SPECIAL[kind]:
            raise InputError(
                f"{path}: the added token {token['content']!r} is not supported; expected {_listed(kind)} alone."
            )
    for name, (expected, settings) in _STEPS.get(kind, {}).items():
        step = content.get(name) or {}
        if step.get("type") != expected:
            found = step.get("type") or "none"
            raise InputError(f"{path}: its {name} is {found}; expected {expected}, as {kind} has here.")
        for setting, value in settings.items():
            if step.get(setting, value) != value:
                raise InputError(f"{path}: {setting}={step[setting]!r} is not supported; expected {value!r}.")
    processor = content.get("post_processor")
    if kind not in _TEMPLATES or (processor or {}).get("type") in _PROCESSORS[kind]:
        return
    found = tuple(_template(processor or {}, form) for form in ("single", "pair"))
    if found != _TEMPLATES[kind]:
        raise InputError(
            f"{path}: its post_processor makes {found[0] or 'no template'!r} of a text and {found[1] or 'none'!r} of a "
            f"pair; expected {_TEMPLATES[kind][0]!r} and {_TEMPLATES[kind][1]!r}."
        )


def _template(processor: Mapping[str, Any], form: str) -> str:
    parts = [next(iter(part.values())) for part in processor.get(form) or ()]
    return " ".join(str(part["id"]) for part in parts)


def _added_tokens(config: Mapping[str, Any]) -> Iterator[str]:
    """Tokens that were added to the vocabulary, in any of the ways of `transformers`."""
    several = [config.get(name) or () for name in ("additional_special_tokens", "extra_special_tokens")]
    decoder = config.get("added_tokens_decoder") or {}
    for tokens in (*several, decoder):
        for token in tokens.values() if isinstance(tokens, Mapping) else tokens:
            yield str(token["content"]) if isinstance(token, Mapping) else str(token)


def _listed(kind: str) -> str:
    return ", ".join(_SPECIAL[kind])
