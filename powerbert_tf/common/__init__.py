"""Errors, files, locks, flags, progress and signals. Nothing here knows BERT.

Imports no other room. Put here what a project without models could use as it is.
"""
