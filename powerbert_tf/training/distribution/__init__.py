"""One training on many devices and in many processes, on TensorFlow and JAX.

Imports `common`, `models` and `batches`. A new kind of device or cluster goes here.
"""
