"""Numbers as pages, tables and plots: the report, the word inspector, the Pareto curve, the closing tables.

Imports `common`, `data`, `elimination`, `models` and `latency`. A new section, figure or page goes here; reading a
run's results is up to `runs`.
"""
