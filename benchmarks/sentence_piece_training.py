"""SentencePiece models as ALBERT has them, of a few texts."""

import io
from collections.abc import Iterable
from typing import Any

import sentencepiece


def train_sentence_pieces(texts: Iterable[str], size: int, **options: Any) -> bytes:
    """A SentencePiece model whose special pieces are placed as in ALBERT's `30k-clean.model`.

    Args:
        texts: To train on, as they are.
        size: Pieces.
        **options: More of SentencePiece's own.
    """
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        vocab_size=size,
        pad_id=0,
        unk_id=1,
        bos_id=-1,
        eos_id=-1,
        pad_piece="<pad>",
        unk_piece="<unk>",
        control_symbols=["[CLS]", "[SEP]", "[MASK]"],
        num_threads=1,  # the same pieces each time
        minloglevel=2,
        **options,
    )
    return model.getvalue()
