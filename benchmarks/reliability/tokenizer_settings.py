"""Combinations of a tokenizer's settings, as `transformers` writes them: the same ids, or a refusal by name.

python -m benchmarks.reliability.tokenizer_settings --draws=10000

Each draw is a small folder of one architecture: settings of `config.json`, `tokenizer_config.json` and `tokenizer.json`
at random, most of them usual ones, and the files that versions of `transformers` leave: `tokenizer.json`, the files of
the vocabulary, or all. Where the folder is taken, ids and segments of texts and pairs must be those of `tokenizers`,
or of the class of `transformers` where there is no `tokenizer.json`; where it is refused, the message must name one of
the settings that were drawn. Anything else is a failure.
"""

import collections
import concurrent.futures
import copy
import dataclasses
import json
import multiprocessing
import random
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags

from benchmarks.common.command import FLAGS, REPOSITORY, define_output_flag, output_path, publish, surroundings
from benchmarks.common.markdown import measured_on, page, table

N = 23
TEXTS = (
    "",
    "The film of the year, a story!",
    " blanks  and\ttabs\nand lines ",
    "naïve Café É ñ Ångström resume\u0301",
    "中文abc 日本 a中b",
    "[NAME] the<url>film <URL> [name]s <Url>",
    "don't we'll A.B.C. $5.00 a_b @x #y 'quoted' ``quoted''",
    "ΑΒΓ Россия Ёлка",
    "q" * 101 + " of",
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen",
)
PAIRS = tuple((first, TEXTS[(2 * number + 1) % len(TEXTS)]) for number, first in enumerate(TEXTS))
KINDS = {"bert": "Bert", "distilbert": "DistilBert", "electra": "Electra", "roberta": "Roberta", "albert": "Albert"}
_SMALL = {"num_hidden_layers": 2, "hidden_size": 10, "num_attention_heads": 2, "intermediate_size": 7}
_DISTIL = {"n_layers": 2, "dim": 10, "n_heads": 2, "hidden_dim": 7}
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


def _whole(architecture: str) -> dict[str, list[Any]]:
    import tokenizers
    from tokenizers import normalizers, pre_tokenizers

    def state(step: Any) -> Any:
        return json.loads(step.__getstate__())

    found: dict[str, list[Any]] = {
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
    if architecture == "roberta":
        return {
            **found,
            "model": [{"dropout": 0.5}, {"dropout": 0.0}, {"fuse_unk": True}, {"ignore_merges": True}],
            "normalizer": [None, state(normalizers.Lowercase()), state(normalizers.NFC())],
            "pre_tokenizer": [
                state(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use)) for use in (True, False)
            ]
            + [None],
            "post_processor": [None, *(state(tokenizers.processors.ByteLevel(trim_offsets=trim)) for trim in (True,))],
        }
    templates = [
        {"single": _PLAIN[0], "pair": _PLAIN[1]},
        {"single": _PLAIN[0], "pair": "[CLS] $A [SEP] $B [SEP]"},
        {"single": "[CLS] $A", "pair": _PLAIN[1]},
        {"single": "$A [SEP] [CLS]", "pair": "$A [SEP] $B:1 [SEP]:1 [CLS]"},
    ]
    ids = [("[CLS]", 2), ("[SEP]", 3)]
    processors = [state(tokenizers.processors.TemplateProcessing(**one, special_tokens=ids)) for one in templates]
    processors += [state(tokenizers.processors.BertProcessing(("[SEP]", sep), ("[CLS]", 2))) for sep in (3, 4)]
    if architecture == "albert":
        return {
            **found,
            "normalizer": [None, state(normalizers.NFKC())],
            "post_processor": [None, *processors],
            "pre_tokenizer": [state(pre_tokenizers.Metaspace()), state(pre_tokenizers.Whitespace())],
        }
    bert = {"clean_text": [True, False], "handle_chinese_chars": [True, False], "lowercase": [True, False]}
    return {
        **found,
        "model": [{"max_input_chars_per_word": 100}, {"max_input_chars_per_word": 7}, {"unk_token": "the"}],
        "normalizer": [
            None,
            state(normalizers.Lowercase()),
            state(normalizers.Sequence([normalizers.NFD(), normalizers.Lowercase(), normalizers.StripAccents()])),
            *(state(normalizers.BertNormalizer(**{name: value})) for name, values in bert.items() for value in values),
            state(normalizers.BertNormalizer(strip_accents=False)),
        ],
        "pre_tokenizer": [
            None,
            state(pre_tokenizers.BertPreTokenizer()),
            state(pre_tokenizers.Whitespace()),
            state(pre_tokenizers.WhitespaceSplit()),
            state(pre_tokenizers.Sequence([pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Digits(True)])),
        ],
        "post_processor": [None, *processors],
    }


def write_vocabularies(folder: Path) -> None:
    """Writes the files of the vocabulary of each architecture, `<folder>/<architecture>/`."""
    import sentencepiece
    import tokenizers

    lines = (REPOSITORY / "glue_data" / "sample" / "SST-2" / "train.tsv").read_text(encoding="utf-8").splitlines()
    texts = [line.split("\t")[0] for line in lines[1:]]
    letters = "abcdefghijklmnopqrstuvwxyzéïñåабвглкоё中文日本αβγ0123456789!,.'$_@#`[]<>\""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [
        "the",
        "film",
        "of",
        "year",
        "name",
        "url",
        "cafe",
        "café",
        *letters,
        *(f"##{letter}" for letter in letters),
    ]
    for architecture in KINDS:
        (folder / architecture).mkdir(parents=True)
        if architecture not in ("roberta", "albert"):
            content = "".join(f"{piece}\n" for piece in [*special, *words])
            (folder / architecture / "vocab.txt").write_text(content, encoding="utf-8")
    trained = tokenizers.ByteLevelBPETokenizer()
    named = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained.train_from_iterator(texts, vocab_size=331, special_tokens=named, show_progress=False)
    trained.save_model(str(folder / "roberta"))
    model = folder / "albert" / "spiece.model"
    with model.open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter([text.lower() for text in texts] + [" ".join(letters)]),
            model_writer=file,
            vocab_size=211,
            hard_vocab_limit=False,
            pad_id=0,
            unk_id=1,
            bos_id=-1,
            eos_id=-1,
            control_symbols=["[CLS]", "[SEP]"],
            user_defined_symbols=["[MASK]"],
            minloglevel=9,
        )


def make(drawn: Draw, vocabularies: Path, folder: Path) -> None:
    """Writes the folder of a draw."""
    import transformers
    from safetensors.numpy import save_file

    shutil.copytree(vocabularies / drawn.architecture, folder)
    classes = getattr(transformers, f"{KINDS[drawn.architecture]}Tokenizer")
    theirs = classes.from_pretrained(folder, **drawn.arguments)
    if drawn.added:
        theirs.add_tokens([transformers.AddedToken(**token) for token in drawn.added])
    theirs.save_pretrained(folder)
    whole, stated = folder / "tokenizer.json", folder / "tokenizer_config.json"
    content = json.loads(whole.read_text(encoding="utf-8"))
    for name, values in drawn.whole.items():
        content[name] = {**content[name], **values} if name == "model" else values
    _write(whole, content)
    decoder = {number: token.__getstate__() for number, token in theirs.added_tokens_decoder.items()}
    older = {"added_tokens_decoder": decoder} if drawn.form != "whole" else {}
    _write(stated, {**json.loads(stated.read_text(encoding="utf-8")), **older, **drawn.stated})
    if drawn.form == "parts":
        whole.unlink()
    if drawn.form == "whole":
        for name in ("vocab.txt", "vocab.json", "merges.txt"):
            (folder / name).unlink(missing_ok=True)
    _write(folder / "config.json", _config(drawn, len(theirs)))
    save_file({"nothing": np.zeros(1, "float32")}, folder / "model.safetensors")


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def _config(drawn: Draw, size: int) -> dict[str, Any]:
    sizes = _DISTIL if drawn.architecture == "distilbert" else _SMALL
    values = {
        "model_type": drawn.architecture,
        **sizes,
        "vocab_size": size,
        "max_position_embeddings": 64,
        "type_vocab_size": 2,
        "pad_token_id": 0,
    }
    if drawn.architecture == "roberta":
        values |= {"type_vocab_size": 1, "pad_token_id": 1}
    changes = copy.deepcopy(drawn.config)
    if "vocab_size" in changes:
        sizes = {"one more": size + 1, "one less": size - 1, "filled up": -(-size // 64) * 64, "twice": 2 * size}
        changes["vocab_size"] = sizes[changes["vocab_size"]]
    return {**values, **changes}


def answer(folder: Path) -> list[tuple[list[int], list[int]]]:
    """Ids and segments of the texts and pairs, as this package gives them.

    Raises:
        InputError: A setting is refused.
    """
    import tensorflow as tf

    from powerbert_tf.checkpoints import find_checkpoint
    from powerbert_tf.tokenizers.files import load_tokenizer

    tokenizer = load_tokenizer(find_checkpoint(folder))
    found = []
    for columns in ([tf.constant(TEXTS)], [tf.constant(column) for column in zip(*PAIRS, strict=True)]):
        ids, segments = tokenizer(columns, N)
        found += list(zip(ids.to_list(), segments.to_list(), strict=True))
    return found


def expected_answer(drawn: Draw, folder: Path) -> list[tuple[list[int], list[int]]] | None:
    """The same from `tokenizers`, or from `transformers`; None if they cannot read the folder."""
    import tokenizers
    import transformers

    try:
        if drawn.form == "parts":
            classes = getattr(transformers, f"{KINDS[drawn.architecture]}Tokenizer")
            theirs = classes.from_pretrained(folder).backend_tokenizer
        else:
            theirs = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        given = theirs.truncation or {}
        theirs.enable_truncation(N, **{name: given[name] for name in ("strategy", "direction") if name in given})
        theirs.no_padding()
        encoded = [*theirs.encode_batch(list(TEXTS)), *theirs.encode_batch(list(PAIRS))]
    except Exception:  # which is all that the package raises
        return None
    return [(one.ids, one.type_ids) for one in encoded]


def judge(drawn: Draw, vocabularies: Path, folder: Path) -> dict[str, Any]:
    """Makes the folder of a draw, reads it, and returns its outcome, and what is wrong if anything is."""
    from powerbert_tf.common.errors import InputError

    make(drawn, vocabularies, folder)
    try:
        found = answer(folder)
    except InputError as error:
        message = str(error)
        named = sorted(name for name in drawn.names() if name in message.replace(str(folder), ""))
        if not named or "\n" in message:
            return {"outcome": "refused without a name", "message": message}
        return {"outcome": "refused", "by": named[0], "message": message}
    except Exception as error:
        return {"outcome": "traceback", "message": f"{type(error).__name__}: {error}"}
    expected = expected_answer(drawn, folder)
    if expected is None:
        return {"outcome": "read here alone"}
    given = {"token_type_ids"} & {*drawn.stated.get("model_input_names", ["token_type_ids"])}
    one_segment = drawn.config.get("type_vocab_size") == 1 and drawn.architecture != "distilbert"  # which has none
    has_segments = bool(given) and not one_segment and drawn.architecture != "roberta"
    for text, (ids, segments), (their_ids, their_segments) in zip((*TEXTS, *PAIRS), found, expected, strict=True):
        if ids != their_ids:
            return {"outcome": "other ids", "message": f"{text!r}: {ids}; expected {their_ids}"}
        if segments != (their_segments if has_segments else [0] * len(ids)):
            return {"outcome": "other segments", "message": f"{text!r}: {segments}; expected {their_segments}"}
    return {"outcome": "equal", "by": "plain" if not drawn.names() else "with settings"}


_CHUNK = 250
FAILURES = ("refused without a name", "traceback", "other ids", "other segments")


def run(draws: Sequence[int]) -> dict[str, Any]:
    """Judges draws; returns counts of outcomes and of the settings that were refused, and all failures."""
    outcomes: collections.Counter[str] = collections.Counter()
    refused: collections.Counter[str] = collections.Counter()
    taken: collections.Counter[str] = collections.Counter()
    failures = []
    with tempfile.TemporaryDirectory() as root:
        vocabularies = Path(root) / "vocabularies"
        write_vocabularies(vocabularies)
        for number in draws:
            drawn = draw(number)
            folder = Path(root) / str(number)
            found = judge(drawn, vocabularies, folder)
            shutil.rmtree(folder)
            outcomes[found["outcome"]] += 1
            if found["outcome"] == "refused":
                refused[found["by"]] += 1
            if found["outcome"] == "equal":
                taken[drawn.architecture] += 1
            if found["outcome"] in FAILURES:
                failures.append({"number": number, **dataclasses.asdict(drawn), **found})
    return {"outcomes": outcomes, "taken": taken, "refused": refused, "failures": failures}


def run_in_processes(draws: range, processes: int) -> Iterator[dict[str, Any]]:
    """What `run` returns, of several processes, again and again: of more and more draws."""
    chunks = [draws[first : first + _CHUNK] for first in range(0, len(draws), _CHUNK)]
    total: dict[str, Any] = {}
    with concurrent.futures.ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        for found in pool.map(_run_quietly, chunks):
            total = {name: counts + total[name] if total else counts for name, counts in found.items()}
            yield total


def _run_quietly(draws: Sequence[int]) -> dict[str, Any]:
    import transformers

    from powerbert_tf.common.reporting import reporting

    transformers.utils.logging.set_verbosity_error()
    with reporting(verbose=0):
        return run(draws)


def to_markdown(report: dict[str, Any]) -> str:
    """The report as text."""
    counts = report["results"]
    return page(
        "# Settings of tokenizers",
        f"{measured_on(report)} {sum(counts['outcomes'].values())} folders; ids and segments of {len(TEXTS)} texts and "
        f"{len(PAIRS)} pairs in each, N = {N}.",
        table([{"outcome": name, "folders": count} for name, count in sorted(counts["outcomes"].items())]),
        "What the folders that were taken are:",
        table([{"architecture": name, "folders": count} for name, count in sorted(counts["taken"].items())]),
        "What the refusals name:",
        table([{"setting": name, "folders": count} for name, count in sorted(counts["refused"].items())]),
    )


def main(_: Sequence[str]) -> None:
    """Draws, writes JSON and Markdown, and fails where anything is wrong."""
    output = output_path("tokenizer_settings")
    results: dict[str, Any] = {}
    for results in run_in_processes(range(FLAGS.first, FLAGS.first + FLAGS.draws), FLAGS.processes):
        report = {**surroundings("benchmarks.reliability.tokenizer_settings"), "results": results}
        publish(report, output, to_markdown(report))  # after each chunk: all of them take long
    for failure in results["failures"][:20]:
        print(json.dumps(failure))
    if results["failures"]:
        raise SystemExit(f"{len(results['failures'])} failures.")


if __name__ == "__main__":
    define_output_flag()
    flags.DEFINE_integer("draws", 1000, "How many combinations.", lower_bound=1)
    flags.DEFINE_integer("processes", 1, "How many processes share them.", lower_bound=1)
    flags.DEFINE_integer("first", 0, "Number of the first one.", lower_bound=0)
    app.run(main)
