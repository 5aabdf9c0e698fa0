"""What the paper reports (Goyal et al., ICML 2020, arXiv 2001.08950), to compare with what is measured here."""

import dataclasses

HARDWARE = "BERT-base, GLUE test server, NVIDIA K80, batch 128, everything padded to N"


@dataclasses.dataclass(frozen=True)
class Row:
    """A task in the paper's comparison of BERT with PoWER-BERT."""

    max_seq_length: int  # N
    metric: str  # as `powerbert_tf.data.metrics` calls it
    dense: float  # that metric of BERT, in percent
    reduced: float  # of PoWER-BERT
    dense_ms: int  # milliseconds of BERT
    reduced_ms: int  # of PoWER-BERT

    @property
    def speedup(self) -> float:
        """Times faster."""
        return self.dense_ms / self.reduced_ms


ROWS = {
    "CoLA": Row(64, "mcc", 52.5, 52.3, 898, 201),
    "RTE": Row(256, "accuracy", 68.1, 67.4, 3993, 1189),
    "QQP": Row(128, "f1", 71.2, 70.2, 1833, 405),
    "MRPC": Row(128, "f1", 88.7, 88.1, 1798, 674),
    "SST-2": Row(64, "accuracy", 93.0, 92.1, 905, 374),
    "MNLI-m": Row(128, "accuracy", 84.6, 83.8, 1867, 725),
    "MNLI-mm": Row(128, "accuracy", 84.0, 83.1, 1881, 908),
    "QNLI": Row(128, "accuracy", 91.0, 90.1, 1848, 916),
    "STS-B": Row(64, "spearman", 85.8, 85.1, 881, 448),
}

# What the paper says in words, which a small model and other hardware can agree or disagree with.
CLAIMS = {
    "figure2": "Word-vectors of a sentence become more and more alike from encoder to encoder, so that more and more "
    "of them are not needed.",
    "figure5": "The less significant a word-vector is by its score, the less of the answer is lost with it, and the "
    "later the encoder, the less is lost.",
    "table2": "2.0x to 4.5x faster at less than 1 point of loss on each GLUE task.",
    "table3": "ALBERT: up to 6.8x faster at less than 1 point of loss.",
    "table4": "At the same numbers of word-vectors the score by attention (Attn-WS) is better than fixed positions "
    "(Head-WS, Rand-WS).",
    "ablation": "Eliminating word-vectors loses less than leaving out encoders at the same speed.",
}
