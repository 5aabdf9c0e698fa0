"""How many word-vectors each encoder keeps: `calibrate` without training, `soft` by gradients.

Imports `elimination`, `models` and `latency`. A new search goes here; the paper's own is a training with `SoftExtract`
and lives in `runs/stages/search.py`.
"""
