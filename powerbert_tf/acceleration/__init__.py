"""What users call from Python: a trained classifier, or text and labels, becomes a `FastClassifier`.

May import every room but the command line and `beam`. What the object can do goes to `fast_classifier.py`, what its
folder holds to `saved_folder.py`; how models are found and trained is in the rooms below.
"""

from powerbert_tf.acceleration.accelerating import accelerate
from powerbert_tf.acceleration.explanation import TextExplanation
from powerbert_tf.acceleration.fast_classifier import Accelerated, FastClassifier
from powerbert_tf.acceleration.loading import load
from powerbert_tf.acceleration.training import train

__all__ = ["Accelerated", "FastClassifier", "TextExplanation", "accelerate", "load", "train"]
