"""Splits as token ids, and batches of them with few shapes and little padding.

Imports `common`, `data`, `models` and `tokenizers`. A change to padding, to the order of rows or to the cache of token
ids goes here.
"""
