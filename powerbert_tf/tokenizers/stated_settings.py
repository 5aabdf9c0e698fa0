"""What the files of a tokenizer say beside its vocabulary: settings that are honoured, and those that are refused.

`tokenizer_config.json` holds arguments of a class of `transformers`; `tokenizer.json` all steps of a tokenizer. Nothing
in them that changes ids is passed over: what is not done here is refused by name.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from powerbert_tf.common.errors import InputError
from powerbert_tf.models.architectures import BYTE_PAIRS, SENTENCE_PIECES, WORD_PIECES
from powerbert_tf.tokenizers.added_tokens import AddedToken
from powerbert_tf.tokenizers.special_tokens import SPECIAL_TOKENS

CLASSES = {  # of `transformers`; the first one is written
    WORD_PIECES: ("BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer"),
    SENTENCE_PIECES: ("AlbertTokenizer",),
    BYTE_PAIRS: ("RobertaTokenizer",),
}
_ANY_CLASS = ("PreTrainedTokenizer", "PreTrainedTokenizerBase", "TokenizersBackend")
# Setting -> the only value that is done here; a setting that is missing or null has it.
_ONLY: Mapping[str, Mapping[str, Any]] = {
    WORD_PIECES: {
        "tokenize_chinese_chars": True,
        "do_basic_tokenize": True,
        "never_split": [],
        "wordpieces_prefix": "##",
    },
    SENTENCE_PIECES: {"remove_space": True, "sp_model_kwargs": {}, "add_prefix_space": True},
    BYTE_PAIRS: {"add_prefix_space": False, "do_lower_case": False},
}
_ONLY_IN_ALL: Mapping[str, Any] = {
    "truncation_side": "right",
    "padding_side": "right",
    "split_special_tokens": False,
}
_SEGMENTS = "token_type_ids"
_MODELS = {WORD_PIECES: "WordPiece", SENTENCE_PIECES: "Unigram", BYTE_PAIRS: "BPE"}  # of a `tokenizer.json`
# Setting of the model there -> its only value.
_MODEL_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    WORD_PIECES: {"unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100},
    SENTENCE_PIECES: {"byte_fallback": False},
    BYTE_PAIRS: {
        "dropout": None,
        "continuing_subword_prefix": "",
        "end_of_word_suffix": "",
        "byte_fallback": False,
        "ignore_merges": False,
    },
}
# Step -> its types, in their order where there are several, and the only values of their settings.
_STEPS: Mapping[str, Mapping[str, tuple[tuple[str, ...], Mapping[str, Any]]]] = {
    WORD_PIECES: {
        "normalizer": (("BertNormalizer",), {"clean_text": True, "handle_chinese_chars": True}),
        "pre_tokenizer": (("BertPreTokenizer",), {}),
    },
    SENTENCE_PIECES: {
        "pre_tokenizer": (("WhitespaceSplit", "Metaspace"), {"prepend_scheme": "always", "add_prefix_space": True})
    },
    BYTE_PAIRS: {
        "normalizer": ((), {}),
        "pre_tokenizer": (("ByteLevel",), {"add_prefix_space": False, "use_regex": True}),
    },
}
_NORMALIZERS = ("Replace", "NFKD", "StripAccents", "Lowercase", "Precompiled")  # of SentencePiece, in this order
_TRUNCATION = {"direction": "Right", "strategy": "LongestFirst"}
_PADDING = {"direction": "Right"}
# How inputs are put together, by `TemplateProcessing`; the other types do the same.
_TEMPLATES = {
    WORD_PIECES: ("[CLS] A [SEP]", "[CLS] A [SEP] B [SEP]"),
    SENTENCE_PIECES: ("[CLS] A [SEP]", "[CLS] A [SEP] B [SEP]"),
    BYTE_PAIRS: ("<s> A </s>", "<s> A </s> </s> B </s>"),
}
_TYPE_IDS = {WORD_PIECES: [0, 0, 0, 1, 1], SENTENCE_PIECES: [0, 0, 0, 1, 1], BYTE_PAIRS: [0] * 6}  # of a pair
_PROCESSORS = {WORD_PIECES: "BertProcessing", SENTENCE_PIECES: "BertProcessing", BYTE_PAIRS: "RobertaProcessing"}


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
    tokens = SPECIAL_TOKENS[kind]
    special = dict(zip(tokens._fields, tokens.needed, strict=False))
    stated = {**config, **{name: _content(config[name]) for name in special if config.get(name) is not None}}
    _require(path, stated, {**_ONLY[kind], **_ONLY_IN_ALL, **special}, may_be_none=True)


def tells_segments(config: Mapping[str, Any]) -> bool:
    """Whether a tokenizer gives the segments of its tokens, by its `tokenizer_config.json`."""
    return _SEGMENTS in (config.get("model_input_names") or [_SEGMENTS])


def require_model(kind: str, path: Path, content: Mapping[str, Any]) -> None:
    """Checks the type of the model in a `tokenizer.json`.

    Raises:
        InputError: It is another one.
        AttributeError, KeyError: The file is damaged.
    """
    expected = _MODELS[kind]
    found = content["model"].get("type", expected)  # which old files leave out
    if found != expected:
        raise InputError(f"{path}: a tokenizer of type {found}; expected {expected}.")


def require_honoured_steps(kind: str, path: Path, content: Mapping[str, Any]) -> None:
    """Checks what is in a `tokenizer.json` beside the vocabulary.

    Raises:
        InputError: A step would give other ids than it asks for.
        AttributeError, KeyError, TypeError: The file is damaged.
    """
    _require(path, content["model"], _MODEL_SETTINGS[kind])
    for name, (expected, settings) in _STEPS[kind].items():
        steps = _flattened(content.get(name))
        found = tuple(step["type"] for step in steps)
        if found != expected:
            raise InputError(
                f"{path}: its {name} is {', '.join(found) or 'none'}; expected {', '.join(expected) or 'none'}, as "
                f"{kind} has here."
            )
        for step in steps:
            _require(path, step, settings)
    if kind == SENTENCE_PIECES:
        types = [step["type"] for step in _flattened(content.get("normalizer"))]
        places = [_NORMALIZERS.index(one) if one in _NORMALIZERS else -1 for one in types if one != "Replace"]
        in_order = places == sorted(set(places)) and -1 not in places and types[:2] == ["Replace", "Replace"]
        if not in_order or ("NFKD" in types) != ("StripAccents" in types):
            raise InputError(f"{path}: its normalizer is {', '.join(types)}; expected {', '.join(_NORMALIZERS)}.")
    _require(path, content.get("truncation") or {}, _TRUNCATION, "truncation.")
    _require(path, content.get("padding") or {}, _PADDING, "padding.")
    ids = {token["content"]: token["id"] for token in content.get("added_tokens") or ()}
    vocabulary = content["model"]["vocab"]
    if isinstance(vocabulary, dict):
        ids = {**ids, **vocabulary}
    _require_processor(kind, path, content.get("post_processor") or {}, ids)


def text_settings(kind: str, content: Mapping[str, Any], infers_accents: bool = True) -> dict[str, bool]:
    """How a `tokenizer.json` treats texts, by the names of settings in a `tokenizer_config.json`.

    Where it does not say whether to strip accents, it does if it lower-cases; left out if not `infers_accents`.

    Raises:
        AttributeError, KeyError, TypeError: The file is damaged.
    """
    steps = _flattened(content.get("normalizer"))
    if kind == SENTENCE_PIECES:
        types = [step["type"] for step in steps]
        return {"do_lower_case": "Lowercase" in types, "keep_accents": "StripAccents" not in types}
    if kind == BYTE_PAIRS or not steps or steps[0]["type"] != "BertNormalizer":
        return {}
    lower_case, strip_accents = steps[0].get("lowercase", True), steps[0].get("strip_accents")
    found = {"do_lower_case": bool(lower_case)}
    if strip_accents is not None or infers_accents:
        found["strip_accents"] = bool(lower_case if strip_accents is None else strip_accents)
    return found


def _flattened(step: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """A step of a `tokenizer.json`, or the steps of a sequence."""
    if not step:
        return []
    parts = step.get("normalizers") or step.get("pretokenizers")
    return [one for part in parts for one in _flattened(part)] if step["type"] == "Sequence" and parts else [step]


def _require_processor(kind: str, path: Path, processor: Mapping[str, Any], ids: Mapping[str, int]) -> None:
    """Checks how inputs are put together; `ids` are those of the vocabulary, or of the special tokens alone."""
    tokens = SPECIAL_TOKENS[kind]
    if processor.get("type") == _PROCESSORS[kind]:
        given = dict([processor["cls"], processor["sep"]])
    else:
        single, pair = (_parts(processor, form) for form in ("single", "pair"))
        found = tuple(" ".join(str(part["id"]) for part in parts) for parts in (single, pair))
        expected = _TEMPLATES[kind]
        if found != expected:
            raise InputError(
                f"{path}: its post_processor makes {found[0] or 'no template'!r} of a text and {found[1] or 'none'!r} "
                f"of a pair; expected {expected[0]!r} and {expected[1]!r}."
            )
        type_ids = [part.get("type_id", 0) for part in pair]
        if type_ids != _TYPE_IDS[kind] or any(part.get("type_id", 0) for part in single):
            raise InputError(
                f"{path}: its post_processor has other type_ids, of a pair {type_ids}; expected {_TYPE_IDS[kind]}."
            )
        given = {token: (*row["ids"],)[0] for token, row in (processor.get("special_tokens") or {}).items()}
    for token in (tokens.cls_token, tokens.sep_token):
        if token in ids and given.get(token) != ids[token]:
            raise InputError(
                f"{path}: its post_processor has id {given.get(token)} for {token}; expected {ids[token]}, as in its "
                "vocabulary."
            )


def _parts(processor: Mapping[str, Any], form: str) -> list[Mapping[str, Any]]:
    return [next(iter(part.values())) for part in processor.get(form) or ()]


def _require(
    path: Path, stated: Mapping[str, Any], only: Mapping[str, Any], prefix: str = "", may_be_none: bool = False
) -> None:
    for name, value in only.items():
        found = stated.get(name, value)
        # An empty text is no prefix or suffix, as none is.
        if found != value and not (found is None and may_be_none) and (found or value):
            raise InputError(f"{path}: {prefix}{name}={found!r} is not supported; expected {value!r}.")


def added_tokens(kind: str, path: Path, tokens: list[Any]) -> list[AddedToken]:
    """Tokens that a file adds to the vocabulary, without the special ones that each tokenizer has.

    Args:
        kind: Of the tokenizer.
        path: Of the file, for messages.
        tokens: Objects with `id`, `content` and perhaps `normalized`, `single_word`, `lstrip` and `rstrip`.

    Raises:
        InputError: A token asks for what is not done here.
        KeyError, TypeError: The file is damaged.
    """
    found = []
    for token in tokens:
        content = str(token["content"])
        if content in SPECIAL_TOKENS[kind]:
            continue
        if kind == SENTENCE_PIECES:
            expected = ", ".join(SPECIAL_TOKENS[kind])
            raise InputError(f"{path}: the added token {content!r} is not supported; expected {expected} alone.")
        # White space beside a token is none of a word-piece, but part of a byte pair.
        for name in ("single_word", *(("lstrip", "rstrip") if kind == BYTE_PAIRS else ())):
            if token.get(name):
                raise InputError(f"{path}: {name} of the added token {content!r} is not supported; expected false.")
        if not content:
            raise InputError(f"{path}: an added token is empty; expected some text.")
        found.append(AddedToken(content, int(token["id"]), bool(token.get("normalized", not token.get("special")))))
    return found


def named_tokens(config: Mapping[str, Any]) -> Iterator[str]:
    """Additional special tokens that a `tokenizer_config.json` or a `special_tokens_map.json` names without an id."""
    for name in ("additional_special_tokens", "extra_special_tokens"):
        tokens = config.get(name) or ()
        for token in tokens.values() if isinstance(tokens, Mapping) else tokens:
            yield _content(token)


def _content(token: Any) -> str:
    return str(token["content"]) if isinstance(token, Mapping) else str(token)
