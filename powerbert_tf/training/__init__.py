"""The training loop, its losses, optimizer and checkpoints; `distribution` runs it on many devices and processes.

Imports the rooms below `latency`. A new loss, optimizer or callback goes here; which stage uses it is up to `runs`.
"""
