"""Runs that give the same bits each time."""

import tensorflow as tf


def make_deterministic() -> None:
    """Makes TensorFlow take only operations that give the same bits each time, for as long as the process lives.

    Sums whose order depends on which thread is first are among the others. Measured times stay what they are: they
    differ from run to run, and so may the configuration of a search that goes by them.
    """
    tf.config.experimental.enable_op_determinism()
