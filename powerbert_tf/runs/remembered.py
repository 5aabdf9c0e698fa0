"""What a run remembers: its settings, which `--task=<its folder>`, its `task.json` or `--config` take again.

Needs no TensorFlow, so that wrong flags are found before it is imported.
"""
