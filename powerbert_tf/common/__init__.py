"""Errors, atomic files, locks, progress and signals: nothing here knows BERT.

Imports no other room. A change goes here if a project without models could use it as it is.
"""
