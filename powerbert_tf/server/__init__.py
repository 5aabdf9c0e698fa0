"""A server over HTTP for an exported model: `powerbert serve runs/reviews`; needs requirements-serve.txt.

Imports `export`, `serve_check` and `runs`; of Keras and the model's code it needs nothing. `request_bodies` says what a
request may hold, `batching` which texts share a batch, `versions` which version answers, `application` the paths and
`process` how the server starts and stops. A new flag is a field of `settings`.
"""
