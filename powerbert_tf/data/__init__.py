"""Tasks, labels, metrics and the rows of a split: GLUE, RACE, TensorFlow Datasets and a user's own tables.

Imports `common`. Add a task, metric, table format or source of data here. Texts stay texts here; `tokenizers` and
`batches` turn them into numbers.
"""
