"""Texts to token ids, by TensorFlow operations that also run inside an exported model.

Imports `common`, `models` and `checkpoints`. A new kind of tokenizer, or a new setting of one, goes here.
"""
