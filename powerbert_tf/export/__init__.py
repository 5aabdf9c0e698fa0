"""Exports: the SavedModel with its signatures, ONNX, OpenVINO, LiteRT, checkpoints for other tools, and model cards.

Imports `data`, `models`, `checkpoints` and `tokenizers`; knows no run. A new format is a row of
`formats.EXPORT_FORMATS` and a function in `writers`.
"""
