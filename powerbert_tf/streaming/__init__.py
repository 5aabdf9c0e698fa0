"""Answers to files of any size, in constant memory: windows of rows in, shards of answers out, in the same order."""
