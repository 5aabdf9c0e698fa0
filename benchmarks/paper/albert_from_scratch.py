"""A small ALBERT with random weights and a vocabulary of its own: `python -m benchmarks.paper.albert_from_scratch`.

Trains SentencePiece on the training texts of a task and writes a checkpoint in Hugging Face's layout, to be trained by
`run_glue.py --checkpoint=` from nothing: no pretrained ALBERT is needed, and none can be to blame.
"""

import dataclasses
import io
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import keras
from absl import app, flags

from benchmarks.common.models import SHAPES
from powerbert_tf.checkpoints import hugging_face
from powerbert_tf.common.files import write_json
from powerbert_tf.data.datasets import load_dataset
from powerbert_tf.data.tasks import get_task
from powerbert_tf.models.classifier import BertClassifier
from powerbert_tf.models.config import BertConfig

FLAGS = flags.FLAGS


def plain(text: str) -> str:
    """What ALBERT's tokenizer gives to SentencePiece: lower-cased, without accents."""
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c)).lower()


def train_sentence_pieces(texts: Iterable[str], size: int, **options: Any) -> bytes:
    """Trains SentencePiece on texts as they are; special tokens are placed as in ALBERT's `30k-clean.model`."""
    import sentencepiece

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


def small_albert(hidden_size: int, num_encoders: int, vocab_size: int, initializer_range: float) -> BertConfig:
    """ALBERT v2's constants, 64 columns a head; the embeddings are half as wide as the encoders."""
    return dataclasses.replace(
        SHAPES["albert_base"],
        vocab_size=vocab_size,
        embedding_size=hidden_size // 2,
        hidden_size=hidden_size,
        num_hidden_layers=num_encoders,
        num_attention_heads=hidden_size // 64,
        intermediate_size=4 * hidden_size,
        max_position_embeddings=128,
        classifier_dropout=0.1,
        initializer_range=initializer_range,
    )


def write_random_albert(
    folder: Path, texts: Iterable[str], config: BertConfig, classes: Sequence[str], seed: int
) -> int:
    """Writes vocabulary and weights in Hugging Face's layout; returns the number of parameters."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spiece.model").write_bytes(train_sentence_pieces(map(plain, texts), config.vocab_size))
    described = {"do_lower_case": True, "keep_accents": False, "tokenizer_class": "AlbertTokenizer"}
    write_json(folder / "tokenizer_config.json", described)
    keras.utils.set_random_seed(seed)
    model = BertClassifier(config, len(classes), config.max_length)
    hugging_face.write_checkpoint(folder, model, classes)
    return model.count_params()


def main(_: Sequence[str]) -> None:
    """Trains the vocabulary and writes the checkpoint."""
    task = get_task(FLAGS.task)
    columns = load_dataset(task, FLAGS.data_dir).splits["train"].texts
    config = small_albert(FLAGS.hidden_size, FLAGS.encoders, FLAGS.vocab_size, FLAGS.initializer_range)
    texts = (str(text) for column in columns for text in column)
    parameters = write_random_albert(Path(FLAGS.output), texts, config, task.classes, FLAGS.seed)
    print(f"{FLAGS.output}: {parameters:,} parameters")


def define_flags() -> None:
    """Flags of the command."""
    flags.DEFINE_string("task", "SST-2", "GLUE task whose training texts the vocabulary is trained on.")
    flags.DEFINE_string("data_dir", "glue_data", "Folder that holds <TASK>/{train,dev,test}.tsv.")
    flags.DEFINE_string("output", "albert-small", "Folder to write.")
    flags.DEFINE_integer("vocab_size", 4000, "Pieces.", lower_bound=100)
    flags.DEFINE_integer("hidden_size", 192, "A multiple of 64.", lower_bound=64)
    flags.DEFINE_integer("encoders", 6, "Which share one set of weights.", lower_bound=1)
    flags.DEFINE_float(
        "initializer_range", 0.04, "Standard deviation of the random weights; BERT's 0.02 is for wider models."
    )
    flags.DEFINE_integer("seed", 0, "Of the weights.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
