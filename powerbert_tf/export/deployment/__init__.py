"""Which form of a model is fastest on this machine: the table of forms, measurements in turns, and the choice.

Nothing here knows a run. `answering.load_deployed` loads the form that was chosen, from text to answer, without Keras.
"""
