"""A server over HTTP for an exported model: `powerbert serve runs/reviews`; needs requirements-serve.txt.

Imports `export` and `runs`, but none of the model's code. `request_bodies` says what a request may hold, `batching`
which texts share a batch, `versions` which version answers, `application` the paths and `process` how the server starts
and stops. None of these knows TensorFlow, which only `saved_model` needs; `deployed` answers with another runtime. A
new flag is a field of `settings`.
"""
