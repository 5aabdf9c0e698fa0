"""A trained classifier of three classes in a folder, texts for it, and its logits by another way."""

import json
import random

import numpy as np
import tensorflow as tf
from tiny_bert import random_weights, tiny_config, write_hugging_face_checkpoint

from powerbert_tf.checkpoints import find_checkpoint, load_classifier
from powerbert_tf.tokenizers.files import load_tokenizer

N = 23
CLASSES = ("dull", "fair", "fine")
CONFIG = tiny_config(max_position_embeddings=31)
# Counted costs: what the search does depends on no clock.
SETTINGS = {
    "max_seq_length": N, "cost_model": "multiply_adds", "calibration_examples": 13, "latency_batch_size": 5,
    "batch_size": 13, "epochs_retrain": 2, "learning_rate_retrain": 1e-3,
}  # fmt: skip


def write_classifier(folder, num_outputs=3, classes=CLASSES):
    write_hugging_face_checkpoint(folder, CONFIG, random_weights(CONFIG, num_outputs))
    path = folder / "config.json"
    named = {"id2label": {str(number): name for number, name in enumerate(classes)}} if classes else {}
    path.write_text(json.dumps({**json.loads(path.read_text()), **named}), encoding="utf-8")
    return folder


def dense_logits(folder, texts, pairs=None, num_outputs=3):
    """The original's logits: one text at a time, without batches, padding or this pipeline."""
    checkpoint = find_checkpoint(folder)
    model, tokenizer = load_classifier(checkpoint, num_outputs, N), load_tokenizer(checkpoint)
    classify = tf.function(model, reduce_retracing=True)  # one program, of any length
    answers = []
    for columns in zip(*([texts] if pairs is None else [texts, pairs]), strict=True):
        token_ids, segment_ids = (
            ragged.to_tensor() for ragged in tokenizer([tf.constant([one]) for one in columns], N)
        )
        inputs = {"token_ids": token_ids, "segment_ids": segment_ids, "padding_mask": tf.ones_like(token_ids)}
        answers.append(classify(inputs, training=False).numpy()[0])
    return np.array(answers)


def make_texts(count, seed=3):
    draw = random.Random(seed)
    return [" ".join(draw.choice("abcdefgh") for _ in range(draw.randrange(2, 19))) for _ in range(count)]
