"""Do settings of tokenizers give the ids that `tokenizers` gives? `draws`, their `folders`, and a `comparison`."""
