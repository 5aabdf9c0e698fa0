"""Tasks, labels, metrics and the rows of a split: GLUE, RACE, TensorFlow Datasets and a user's own tables.

Imports `common`. A new task, metric, table format or data source goes here; the text of a row stays text until
`tokenizers` and `batches` take it.
"""
