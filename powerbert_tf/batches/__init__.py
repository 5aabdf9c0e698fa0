"""Encoded splits, cut into batches with few shapes and little padding.

Imports `common`, `data` and `tokenizers`. A change to padding, to the order of rows or to the
cache of token ids goes here.
"""
