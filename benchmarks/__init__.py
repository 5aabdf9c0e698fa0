"""Measurements of speed against real alternatives; every published number comes from a command here."""
