"""The BERT family: its encoder and classifier, with an optional slot for `elimination` in each encoder.

Imports `common` and `elimination`. A new architecture, layer or precision goes here.
"""
