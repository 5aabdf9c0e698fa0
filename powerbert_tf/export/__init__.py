"""Everything that leaves: SavedModel and its signatures, ONNX, OpenVINO, LiteRT, checkpoints of other tools, and cards.

Imports `data`, `models`, `checkpoints` and `tokenizers`; knows no run. A new export format is a row of
`formats.EXPORT_FORMATS` and a writer here.
"""
