"""Ids and segments of each folder, as this package gives them and as `tokenizers` and `transformers` do."""

import collections
import dataclasses
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.reliability.tokenizer_settings.draws import KINDS, Draw, draw
from benchmarks.reliability.tokenizer_settings.folders import make, write_vocabularies

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
FAILURES = ("refused without a name", "traceback", "other ids", "other segments")


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
