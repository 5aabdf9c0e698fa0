"""Errors, files, locks, flags, progress, signals and what TensorFlow logs. Nothing here knows BERT.

Imports no other room. Put here what a project without models could use as it is.
"""
