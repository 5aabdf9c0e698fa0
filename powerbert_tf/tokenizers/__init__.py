"""Text to token ids, as TensorFlow operations that also run inside an exported model.

Imports `common`, `models` and `checkpoints`. A new kind of tokenizer, or a new setting of one, goes here.
"""
