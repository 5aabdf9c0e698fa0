"""Settings of a tokenizer at random, as `transformers` writes them, most of them usual ones."""

import dataclasses
import json
import random
from typing import Any

KINDS = {"bert": "Bert", "distilbert": "DistilBert", "electra": "Electra", "roberta": "Roberta", "albert": "Albert"}
_PLAIN = ("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1")


@dataclasses.dataclass
class Draw:
    """A folder to be made.

    Attributes:
        architecture: As `model_type` names it.
        form: Files that stay: `whole`, `parts` or `both`.
        arguments: Of the class of the tokenizer.
        added: Arguments of tokens that are added.
        config: Changes of `config.json`.
        stated: Changes of `tokenizer_config.json`.
        whole: Changes of `tokenizer.json`.
    """

    architecture: str
    form: str
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)
    added: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    stated: dict[str, Any] = dataclasses.field(default_factory=dict)
    whole: dict[str, Any] = dataclasses.field(default_factory=dict)

    def names(self) -> set[str]:
        """What a refusal may name."""
        found = {*self.arguments, *self.config, *self.stated, *self.whole}
        for values in (*self.whole.values(), *self.stated.values(), *self.added):
            if isinstance(values, dict):
                found |= {str(name) for name in values if name not in ("type", "content")}
            if isinstance(values, list):
                found |= set(map(str, values))
        if self.added:  # which need rows of their own
            found |= {"the added token", "vocab_size"}
        return found


def draw(number: int) -> Draw:
    """The draw of this number."""
    choose = random.Random(number)
    architecture = choose.choice(list(KINDS))
    found = Draw(architecture, choose.choice(["whole", "parts", "both", "both"]))
    if architecture == "albert" and found.form == "whole":
        found.form = "both"  # there is no tokenizer of ALBERT here without its SentencePiece model

    def some(options: dict[str, list[Any]], share: float) -> dict[str, Any]:
        return {name: choose.choice(values) for name, values in options.items() if choose.random() < share}

    found.arguments = some(_arguments(architecture), 0.25)
    if choose.random() < 0.3:
        contents = choose.sample(["[NAME]", "<url>", "<URL>", "name", "thé"], choose.randint(1, 2))
        rest = {"normalized": [True, False], "special": [True, False], "single_word": [True], "lstrip": [True]}
        found.added = [{"content": content, **some(rest, 0.2)} for content in contents]
    found.config = some(_CONFIG, 0.04)
    found.stated = some(_stated(architecture), 0.04)
    if found.form != "parts":
        found.whole = some(_whole(architecture), 0.06)
    return found


_CONFIG: dict[str, list[Any]] = {
    "vocab_size": ["one more", "one less", "filled up", "twice"],
    "pad_token_id": [0, 1, 3, None],
    "type_vocab_size": [1, 2, 3],
    "hidden_act": ["gelu", "gelu_new", "relu", "swish", "quick_gelu", "mish"],
    "position_embedding_type": ["absolute", "relative_key"],
    "is_decoder": [False, True],
    "layer_norm_eps": [1e-12, 1e-5, 0],
    "problem_type": [None, "regression", "single_label_classification", "multi_label_classification", "other"],
    "id2label": [{"0": "a", "1": "b"}, {"0": "a"}, {}],
    "hidden_dropout_prob": [0.0, 0.1, 1.5],
    "classifier_dropout": [None, 0.3],
    "max_position_embeddings": [41, 512],
    "dtype": ["float32", "bfloat16"],
    "use_cache": [True, False],
    "chunk_size_feed_forward": [0, 3],
    "tie_word_embeddings": [True, False],
    "bos_token_id": [0, 5],
    "num_attention_heads": [2, 3],
}


def _arguments(architecture: str) -> dict[str, list[Any]]:
    if architecture == "roberta":
        return {
            "add_prefix_space": [False, False, True],
            "trim_offsets": [True, False],
            "errors": ["replace", "strict"],
        }
    if architecture == "albert":
        return {"do_lower_case": [True, False], "keep_accents": [True, False], "add_prefix_space": [True, True, False]}
    return {
        "do_lower_case": [True, False],
        "strip_accents": [None, True, False],
        "tokenize_chinese_chars": [True, True, False],
    }


def _stated(architecture: str) -> dict[str, list[Any]]:
    common: dict[str, list[Any]] = {
        "truncation_side": ["left", "right"],
        "padding_side": ["left", "right"],
        "model_max_length": [23, 512, 10**30],
        "clean_up_tokenization_spaces": [True, False],
        "split_special_tokens": [False],
        "model_input_names": [
            ["input_ids", "token_type_ids", "attention_mask"],
            ["input_ids", "attention_mask"],
        ],
        "tokenizer_class": [f"{KINDS[architecture]}Tokenizer", f"{KINDS[architecture]}TokenizerFast", "T5Tokenizer"],
        "name_or_path": ["somewhere"],
        "max_length": [7, 23],
        "stride": [0, 3],
        "pad_to_multiple_of": [8],
        "additional_special_tokens": [[], ["[NAME]"], ["film"]],
        "do_lower_case": [True, False],
        "cls_token": ["[CLS]", "<s>", {"content": "[CLS]", "__type": "AddedToken"}],
        "unk_token": ["[UNK]", "<unk>"],
    }
    if architecture == "albert":
        return {**common, "keep_accents": [True, False], "remove_space": [True, False]}
    if architecture == "roberta":
        return {**common, "add_prefix_space": [True, False], "bos_token": ["<s>"]}
    return {
        **common,
        "strip_accents": [True, False],
        "never_split": [[], ["[NAME]"]],
        "do_basic_tokenize": [True, False],
    }


# Values of the entries of a `tokenizer.json` that all architectures have.
_COMMON: dict[str, list[Any]] = {
    "truncation": [
        {"direction": direction, "max_length": 11, "strategy": strategy, "stride": 0}
        for direction in ("Right", "Left")
        for strategy in ("LongestFirst", "OnlyFirst")
    ],
    "padding": [
        {
            "strategy": {"Fixed": 31},
            "direction": direction,
            "pad_to_multiple_of": None,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "[PAD]",
        }
        for direction in ("Right", "Left")
    ],
    "decoder": [None],
    "version": ["1.0"],
}


def _whole(architecture: str) -> dict[str, list[Any]]:
    parts = {"roberta": _byte_pairs, "albert": _sentence_pieces}
    return {**_COMMON, **parts.get(architecture, _word_pieces)()}


def _state(step: Any) -> Any:
    return json.loads(step.__getstate__())


def _byte_pairs() -> dict[str, list[Any]]:
    from tokenizers import normalizers, pre_tokenizers, processors

    splits = [_state(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use)) for use in (True, False)]
    return {
        "model": [{"dropout": 0.5}, {"dropout": 0.0}, {"fuse_unk": True}, {"ignore_merges": True}],
        "normalizer": [None, _state(normalizers.Lowercase()), _state(normalizers.NFC())],
        "pre_tokenizer": [*splits, None],
        "post_processor": [None, _state(processors.ByteLevel(trim_offsets=True))],
    }


def _sentence_pieces() -> dict[str, list[Any]]:
    from tokenizers import normalizers, pre_tokenizers

    return {
        "normalizer": [None, _state(normalizers.NFKC())],
        "post_processor": [None, *_processors()],
        "pre_tokenizer": [_state(pre_tokenizers.Metaspace()), _state(pre_tokenizers.Whitespace())],
    }


def _word_pieces() -> dict[str, list[Any]]:
    from tokenizers import normalizers, pre_tokenizers

    bert = {"clean_text": [True, False], "handle_chinese_chars": [True, False], "lowercase": [True, False]}
    plain = normalizers.Sequence([normalizers.NFD(), normalizers.Lowercase(), normalizers.StripAccents()])
    return {
        "model": [{"max_input_chars_per_word": 100}, {"max_input_chars_per_word": 7}, {"unk_token": "the"}],
        "normalizer": [
            None,
            _state(normalizers.Lowercase()),
            _state(plain),
            *(_state(normalizers.BertNormalizer(**{name: value})) for name, values in bert.items() for value in values),
            _state(normalizers.BertNormalizer(strip_accents=False)),
        ],
        "pre_tokenizer": [
            None,
            _state(pre_tokenizers.BertPreTokenizer()),
            _state(pre_tokenizers.Whitespace()),
            _state(pre_tokenizers.WhitespaceSplit()),
            _state(pre_tokenizers.Sequence([pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Digits(True)])),
        ],
        "post_processor": [None, *_processors()],
    }


def _processors() -> list[Any]:
    from tokenizers import processors

    templates = [
        {"single": _PLAIN[0], "pair": _PLAIN[1]},
        {"single": _PLAIN[0], "pair": "[CLS] $A [SEP] $B [SEP]"},
        {"single": "[CLS] $A", "pair": _PLAIN[1]},
        {"single": "$A [SEP] [CLS]", "pair": "$A [SEP] $B:1 [SEP]:1 [CLS]"},
    ]
    ids = [("[CLS]", 2), ("[SEP]", 3)]
    found = [_state(processors.TemplateProcessing(**one, special_tokens=ids)) for one in templates]
    return found + [_state(processors.BertProcessing(("[SEP]", sep), ("[CLS]", 2))) for sep in (3, 4)]
