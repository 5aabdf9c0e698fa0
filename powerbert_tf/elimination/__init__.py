"""The method: score word-vectors, eliminate those that matter least, and count what that saves.

Files, from the ground up: `significance` (scores), `retention` (how many stay), `reduction` (the same with the widths
of encoders), `extract` (the layers), `operations` (multiply-adds). Imports `common`. A new score, layer or kind of
retention configuration goes here. Nothing here imports TensorFlow or knows a host model.
"""
