"""Predictions for files of any size in constant memory: windows of rows in, shards of answers out, in the same order.

Imports `data`, `models` and `batches`. A new format of answers goes into `writers`; formats of the input are those of
`data.tables`.
"""
