"""The folder of a draw: the files that versions of `transformers` leave."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.command import REPOSITORY
from benchmarks.reliability.tokenizer_settings.draws import KINDS, Draw

_SMALL = {"num_hidden_layers": 2, "hidden_size": 10, "num_attention_heads": 2, "intermediate_size": 7}
_DISTIL = {"n_layers": 2, "dim": 10, "n_heads": 2, "hidden_dim": 7}


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
