"""Numbers to pages, tables and plots: the report, the word inspector and the Pareto curve.

Imports `common`, `data`, `elimination` and `models`. A new section, figure or page goes here; reading a run's
results is up to `runs/stages/report.py`.
"""
