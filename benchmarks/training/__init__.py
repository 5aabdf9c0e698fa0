"""How long does a training step take, against other engines?"""
