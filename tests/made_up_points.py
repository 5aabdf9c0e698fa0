"""Made-up points of a Pareto table, and the dense models beside them."""

from powerbert_tf.reports.pareto import Baseline, Point

GROUPED = Baseline("grouped by length", 23.5, 1.0, 0.83)
BASELINES = (Baseline("padded to N", 71.0, 0.331, 0.83), Baseline("padded to the batch", 37.0, 0.635, 0.83), GROUPED)


def a_point(strategy="calibrate", target=2.0, speedup=1.9, metric=0.82, seed=0, configuration=(0.7, 0.5, 0.3)):
    return Point(strategy, target, configuration, target * 1.03, speedup, speedup * 3.1, metric, seed)


def several():
    """Three seeds of one strategy at two targets, and one seed of another."""
    return [
        a_point(target=3.0, speedup=2.9, metric=0.79, seed=5),
        a_point(speedup=1.9, metric=0.81, seed=5),
        a_point(speedup=2.3, metric=0.83, seed=7, configuration=(0.7, 0.5, 0.2)),
        a_point(speedup=1.7, metric=0.82, seed=11),
        a_point("random", 2.0, 1.8, 0.61, seed=5),
    ]
