"""Do logits agree with `transformers`, does a killed stage resume, and is wrong input refused?"""
