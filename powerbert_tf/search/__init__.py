"""Searches for a retention configuration: `calibrate` without training, `soft` by gradients.

Imports `elimination`, `models` and `latency`. A new search goes here. The paper's own search is a training with
`SoftExtract` and lives in `runs/stages/search.py`.
"""
