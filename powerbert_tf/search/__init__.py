"""Searches for what each encoder keeps: `calibrate` without training, `soft` by gradients.

Imports `elimination`, `models` and `latency`. A new search goes here. Which neurons and heads matter is in
`importance`; what the others contributed is rebuilt by least squares, by `reconstruction` in arrays and by `rebuilding`
in models. The paper's own search is a training with `SoftExtract` and lives in `runs/stages/search.py`.
"""
