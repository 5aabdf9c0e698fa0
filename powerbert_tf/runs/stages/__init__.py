"""The stages of a run, one file each, named after the stage, with a function `(run, folder) -> result`.

A new stage is a file here, a row in `runs/stage_runner.py` and one in `runs/stage_plan.py`, and a name in
`runs/settings.py`.
"""
