"""Which neurons and heads matter least: orders in which they leave. Pure functions of arrays.

Second order (optimal brain surgeon, Hassibi and Stork, 1993; for whole columns ZipLM, Kurtic et al., NeurIPS 2023): the
output of a layer is `X W`. If columns B leave and the others are rebuilt by least squares, the squared error grows by

    tr( W_B' (P_BB)^-1 W_B ),    P = (G + c I)^-1,

with G the centred Gram matrix of X over what has not left yet and W the kernel as rebuilt so far. The columns of least
growth leave first, and

    W <- W - P_:B (P_BB)^-1 W_B,    P <- P - P_:B (P_BB)^-1 P_B:

is the rebuilt kernel and the inverse of what stays.

Axes: `d` columns, in `g` groups of `d / g` neighbours: a neuron is a group of one, a head a group of `D`.
"""

import numpy as np
from scipy import linalg

from powerbert_tf.search.reconstruction import RIDGE, ridge_of

_STEPS = 64  # in which groups leave: neurons are many, and one at a time changes next to nothing


def order_by_reconstruction(
    gram: np.ndarray, kernel: np.ndarray, group_size: int = 1, ridge: float = RIDGE
) -> np.ndarray:
    """Orders groups so that any number of first ones rebuilds the output well, the most important first.

    Args:
        gram: G, `[d, d]`.
        kernel: W, `[d, H]`.
        group_size: Columns of a group.
        ridge: c, as a part of the mean diagonal of G.

    Returns:
        Numbers of groups, `[g]`.
    """
    size = len(gram)
    inverse = linalg.inv(gram + ridge_of(gram, ridge) * np.eye(size))
    kernel = np.array(kernel, "float64")
    groups = np.arange(size).reshape(-1, group_size)
    staying = np.arange(len(groups))
    at_once = max(len(groups) // _STEPS, 1)
    leaving: list[int] = []
    while len(staying) > 1:
        columns = groups[staying]  # [s, group_size]
        blocks = inverse[columns[:, :, None], columns[:, None, :]]  # [s, group_size, group_size]
        own = kernel[columns]  # [s, group_size, H]
        growth = np.sum(own * np.linalg.solve(blocks, own), axis=(1, 2))
        least = np.argsort(growth, kind="stable")[: min(at_once, len(staying) - 1)]
        leaving.extend(staying[least].tolist())
        gone = groups[staying[least]].ravel()
        factor = linalg.solve(inverse[np.ix_(gone, gone)], np.hstack([inverse[gone], kernel[gone]]), assume_a="pos")
        change = inverse[:, gone] @ factor
        inverse -= change[:, :size]
        kernel -= change[:, size:]
        staying = np.delete(staying, least)
    return np.array([*staying, *reversed(leaving)])
