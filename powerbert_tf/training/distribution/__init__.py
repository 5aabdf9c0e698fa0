"""One training on many devices and in many processes, on TensorFlow and JAX.

`devices` has the interface and one device, `replicas` and `jax_devices` have several, `launch` opens them. Imports
`common`, `models` and `batches`. A new kind of device or cluster goes here.
"""
