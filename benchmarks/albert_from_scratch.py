"""A small ALBERT with random weights and a vocabulary of its own: `python -m benchmarks.albert_from_scratch`.

Trains SentencePiece on the training texts of a task and writes a checkpoint in Hugging Face's layout, to be trained by
`run_glue.py --checkpoint=` from nothing: no pretrained ALBERT is needed, and none can be to blame.
"""

import dataclasses
import io
import json
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

import keras
import sentencepiece
from absl import app, flags

from powerbert_tf.bert_config import BertConfig, config_of
from powerbert_tf.checkpoints import hugging_face
from powerbert_tf.datasets import load_dataset
from powerbert_tf.modeling import BertClassifier
from powerbert_tf.tasks import get_task

FLAGS = flags.FLAGS


def train_pieces(texts: Iterable[str], size: int) -> bytes:
    """A SentencePiece model whose special pieces are placed as in ALBERT's `30k-clean.model`.

    Args:
        texts: To train on; lower-cased and without accents here, as ALBERT's tokenizer does before it cuts.
        size: Pieces.
    """
    plain = ("".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c)) for text in texts)
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(text.lower() for text in plain),
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
    )
    return model.getvalue()


def small_albert(hidden_size: int, num_encoders: int, vocab_size: int) -> BertConfig:
    """ALBERT v2's constants, 64 columns a head; the embeddings are half as wide as the encoders."""
    sizes = {
        "vocab_size": vocab_size,
        "hidden_size": hidden_size,
        "num_hidden_layers": num_encoders,
        "num_attention_heads": hidden_size // 64,
        "intermediate_size": 4 * hidden_size,
        "max_position_embeddings": 128,
        "embedding_size": hidden_size // 2,
        "hidden_act": "gelu_new",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "classifier_dropout_prob": 0.1,
    }
    return config_of("albert", sizes)


def main(_: Sequence[str]) -> None:
    """Trains the vocabulary and writes the checkpoint."""
    task = get_task(FLAGS.task)
    texts = load_dataset(task, FLAGS.data_dir).splits["train"].texts
    folder = Path(FLAGS.output)
    folder.mkdir(parents=True, exist_ok=True)
    pieces = train_pieces((str(text) for column in texts for text in column), FLAGS.vocab_size)
    (folder / "spiece.model").write_bytes(pieces)
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"do_lower_case": True, "keep_accents": False, "tokenizer_class": "AlbertTokenizer"}) + "\n",
        encoding="utf-8",
    )
    keras.utils.set_random_seed(FLAGS.seed)
    config = small_albert(FLAGS.hidden_size, FLAGS.encoders, FLAGS.vocab_size)
    # BERT's 0.02 is for thousands of times as many steps as a task has.
    config = dataclasses.replace(config, initializer_range=FLAGS.initializer_range)
    model = BertClassifier(config, task.num_outputs, config.max_length)
    hugging_face.write_checkpoint(folder, model, task.classes)
    print(f"{folder}: {model.count_params():,} parameters")


def define_flags() -> None:
    """Flags of the command."""
    flags.DEFINE_string("task", "SST-2", "GLUE task whose training texts the vocabulary is trained on.")
    flags.DEFINE_string("data_dir", "glue_data", "Folder that holds <TASK>/{train,dev,test}.tsv.")
    flags.DEFINE_string("output", "albert-small", "Folder to write.")
    flags.DEFINE_integer("vocab_size", 4000, "Pieces.", lower_bound=100)
    flags.DEFINE_integer("hidden_size", 192, "A multiple of 64.", lower_bound=64)
    flags.DEFINE_integer("encoders", 6, "Which share one set of weights.", lower_bound=1)
    flags.DEFINE_float("initializer_range", 0.02, "Standard deviation of the random weights.", lower_bound=0)
    flags.DEFINE_integer("seed", 0, "Of the weights.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
