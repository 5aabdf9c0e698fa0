"""Logits of every architecture at its published sizes against `transformers` on PyTorch.

python -m benchmarks.reliability.parity

Random weights, none at its neutral value, written by `transformers` and read by `load_classifier`; batches with padding
and with both segments. Fails where a logit differs by more than 1e-5.
"""

import gc
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags

from benchmarks.common.command import FLAGS, check_names, define_flags, output_path, publish, surroundings
from benchmarks.common.engine import Job
from benchmarks.common.frameworks import set_up_keras
from benchmarks.common.markdown import measured_on, page, table

TOLERANCE = 1e-5
_NUM_CLASSES = 7
_LENGTHS = (61, 2, 37)  # of the rows of a batch; what is missing is padding


def _bert(layers: int, heads: int, hidden: int, **others: Any) -> dict[str, Any]:
    return {
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "hidden_size": hidden,
        "intermediate_size": 4 * hidden,
        **others,
    }


_ROBERTA = {
    "vocab_size": 50265,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
    "pad_token_id": 1,
}
_ALBERT = {"base": (12, 12, 768), "large": (24, 16, 1024), "xlarge": (24, 16, 2048), "xxlarge": (12, 64, 4096)}
# Class of `transformers`, and what its configuration says where it is not the default.
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "BERT base": ("Bert", _bert(12, 12, 768)),
    "BERT base multilingual": ("Bert", _bert(12, 12, 768, vocab_size=119547)),
    "BERT large": ("Bert", _bert(24, 16, 1024)),
    "MiniLM": ("Bert", _bert(6, 12, 384)),
    **{
        f"ALBERT {size} v{version}": (
            "Albert",
            _bert(*sizes, vocab_size=30000, embedding_size=128, hidden_act="gelu" if version == 1 else "gelu_new"),
        )
        for version in (1, 2)
        for size, sizes in _ALBERT.items()
    },
    "DistilBERT base": ("DistilBert", {}),
    "RoBERTa base": ("Roberta", _bert(12, 12, 768, **_ROBERTA)),
    "RoBERTa large": ("Roberta", _bert(24, 16, 1024, **_ROBERTA)),
    "ELECTRA small": ("Electra", _bert(12, 4, 256, embedding_size=128)),
    "ELECTRA base": ("Electra", _bert(12, 12, 768, embedding_size=768)),
    "ELECTRA large": ("Electra", _bert(24, 16, 1024, embedding_size=1024)),
}


def random_inputs(vocab_size: int, pad_id: int) -> dict[str, np.ndarray]:
    """Rows of two segments each, padded on the right, int32 `[B, T]`."""
    random = np.random.default_rng(0)
    places = np.arange(max(_LENGTHS))[None]
    lengths = np.array(_LENGTHS)[:, None]
    mask = (places < lengths).astype("int32")
    token_ids = np.where(mask, random.integers(5, vocab_size, mask.shape), pad_id).astype("int32")
    return {"token_ids": token_ids, "segment_ids": mask * (places >= lengths // 2), "padding_mask": mask}


def compare(classes: str, values: dict[str, Any]) -> dict[str, Any]:
    """Compares the logits of both implementations with the same weights.

    Args:
        classes: Beginning of the class names in `transformers`.
        values: Of the configuration.
    """
    import torch
    import transformers
    from keras import ops

    from powerbert_tf import load_classifier

    config = getattr(transformers, f"{classes}Config")(num_labels=_NUM_CLASSES, **values)
    inputs = random_inputs(config.vocab_size, config.pad_token_id or 0)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        theirs = getattr(transformers, f"{classes}ForSequenceClassification")(config).eval()
        with torch.no_grad():
            for name, weight in theirs.named_parameters():
                norm = "norm" in name.lower() and name.endswith("weight")
                # As wide as makes attention differ from row to row, and no wider than trained weights are.
                scale = 0.05 if "embeddings" in name or weight.ndim == 1 else weight.shape[-1] ** -0.5
                weight.copy_(norm + scale * torch.randn(weight.shape))
            takes_segments = classes not in ("DistilBert", "Roberta")
            segments = {"token_type_ids": torch.tensor(inputs["segment_ids"])} if takes_segments else {}
            expected = theirs(
                input_ids=torch.tensor(inputs["token_ids"]),
                attention_mask=torch.tensor(inputs["padding_mask"]),
                **segments,
            ).logits.numpy()
        parameters = sum(weight.numel() for weight in theirs.parameters())
        theirs.save_pretrained(folder)
        del theirs
        gc.collect()
        model = load_classifier(Path(folder), _NUM_CLASSES, 128)
    found = ops.convert_to_numpy(model(inputs))
    return {
        "encoders": config.num_hidden_layers,
        "hidden_size": config.hidden_size,
        "parameters": parameters,
        "logits_standard_deviation": float(expected.std()),
        "between_rows": float(np.abs(expected[0] - expected[1]).max()),
        "difference": float(np.abs(found - expected).max()),
    }


def to_markdown(report: dict[str, Any]) -> str:
    """The report as text."""
    rows = [
        {
            "model": row["model"],
            "encoders x hidden size": f"{row['encoders']} x {row['hidden_size']}",
            "million parameters": round(row["parameters"] / 1e6),
            "standard deviation of logits": row["logits_standard_deviation"],
            "largest difference": f"{row['difference']:.1e}",
        }
        for row in report["results"]
    ]
    return page(
        "# Parity with transformers on PyTorch",
        f"{measured_on(report)} Random weights, rows of {', '.join(map(str, _LENGTHS))} tokens in one "
        f"batch, both segments, {_NUM_CLASSES} logits a row, float32.",
        table(rows),
    )


def main(_: Sequence[str]) -> None:
    """Compares, writes JSON and Markdown, and fails where anything differs."""
    check_names("models", FLAGS.models, list(MODELS))
    import transformers

    set_up_keras(Job("", _NUM_CLASSES, max(_LENGTHS), FLAGS.threads, ()))
    transformers.utils.logging.disable_progress_bar()
    results: list[dict[str, Any]] = []
    output = output_path("parity")
    for name in FLAGS.models or MODELS:
        results.append({"model": name, **compare(*MODELS[name])})
        print(f"{name}: {results[-1]['difference']:.1e}", flush=True)
        report = {**surroundings("benchmarks.reliability.parity"), "results": results}
        publish(report, output, to_markdown(report))  # after each: the last ones take minutes
        gc.collect()
    wrong = [row["model"] for row in results if not row["difference"] <= TOLERANCE]
    if wrong:
        raise SystemExit(f"{', '.join(wrong)}: a logit differs by more than {TOLERANCE}.")


if __name__ == "__main__":
    define_flags()
    flags.DEFINE_list("models", [], "Which models; empty for all.")
    app.run(main)
