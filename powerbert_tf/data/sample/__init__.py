"""Small made-up GLUE files: the original layouts, and sentences drawn from word lists and templates.

`texts` draws the sentences from the JSON files here, `files` writes them. `python -m powerbert_tf.data.sample FOLDER`
writes the files of all tasks.
"""
