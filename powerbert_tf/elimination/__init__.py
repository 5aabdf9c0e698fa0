"""The method: which word-vectors matter, how they leave, how many stay, and the operations that this saves.

In this order: `significance`, `extract`, `retention`, `operations`.

Imports `common`. A new score, a new way to eliminate or a new kind of retention configuration goes here. Nothing
here imports TensorFlow or knows a host model.
"""
