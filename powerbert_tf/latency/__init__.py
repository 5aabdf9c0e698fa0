"""What a retention configuration costs on this device: timing, cost tables and measured speed-ups.

Imports the rooms down to `models` and `batches`. A new cost model, or a new way to measure, goes here.
"""
