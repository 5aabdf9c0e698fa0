"""The stages of a run, one file each, named after the stage; each has a function `(run, folder) -> result`.

A new stage is a file here, a row of `runs/stage_runner.py`, and a row of the plan in `runs/plan.py`.
"""
