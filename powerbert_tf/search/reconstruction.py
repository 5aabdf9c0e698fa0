"""Least squares: what removed columns contributed to a product, rebuilt from those that stay. Pure functions of arrays.

A dense layer adds `X W + b` to the residual, where X `[n, d]` are the activations of neurons, or the outputs of heads,
for `n` rows of calibration text. After some columns are removed, those that stay, `X_K`, get the kernel W' and the bias
b' that come closest to a target T `[n, H]`: the old output `X W + b`, or what else the row should become,

    minimize  sum_rows || x_K W' + b' - t ||^2 + c || W' - W_K ||^2.

The ridge c pulls towards the old kernel, not towards 0, so that without evidence nothing changes. With centred moments
`G = X_K' X_K` and `C = X_K' T` the derivative is zero where

    (G + c I) (W' - W_K) = C - G W_K,        b' = mean(t) - mean(x_K) W'.

This is the reconstruction of Kwon et al. (NeurIPS 2022, arXiv 2204.09656), and the update of ZipLM (Kurtic et al.,
NeurIPS 2023, arXiv 2302.04089) for a whole set of columns.

Axes: `n` rows of calibration text, `d` columns, `k` of them that stay, `H` columns of the output.
"""

import dataclasses

import numpy as np
from scipy import linalg

RIDGE = 0.01  # c, as a part of the mean diagonal of G


@dataclasses.dataclass(eq=False)
class Moments:
    """First and second moments of inputs X and targets T, added up batch by batch in float64.

    Attributes:
        count: n.
        inputs: Sum of x, `[d]`.
        targets: Sum of t, `[H]`.
        squares: Sum of x' x, `[d, d]`.
        products: Sum of x' t, `[d, H]`.
    """

    count: int
    inputs: np.ndarray
    targets: np.ndarray
    squares: np.ndarray
    products: np.ndarray

    @classmethod
    def zeros(cls, num_inputs: int, num_targets: int) -> "Moments":
        """Moments of no rows."""
        d, outputs = num_inputs, num_targets
        return cls(0, np.zeros(d), np.zeros(outputs), np.zeros((d, d)), np.zeros((d, outputs)))

    def add(self, inputs: np.ndarray, targets: np.ndarray) -> None:
        """Adds rows: X `[n, d]` and T `[n, H]`."""
        self.count += len(inputs)
        self.inputs += inputs.sum(axis=0, dtype="float64")
        self.targets += targets.sum(axis=0, dtype="float64")
        self.squares += inputs.T @ inputs
        self.products += inputs.T @ targets

    @property
    def gram(self) -> np.ndarray:
        """G, centred, `[d, d]`."""
        return self.squares - np.outer(self.inputs, self.inputs) / self.count

    @property
    def cross(self) -> np.ndarray:
        """C, centred, `[d, H]`."""
        return self.products - np.outer(self.inputs, self.targets) / self.count

    def of(self, columns: np.ndarray) -> "Moments":
        """The moments of some columns of X, `[k]` numbers."""
        return Moments(
            self.count,
            self.inputs[columns],
            self.targets,
            self.squares[np.ix_(columns, columns)],
            self.products[columns],
        )


def ridge_of(gram: np.ndarray, ridge: float = RIDGE) -> float:
    """Returns c for a matrix G, in its units; positive even where all activations are 0."""
    return ridge * float(np.mean(np.diag(gram))) + np.finfo("float64").tiny ** 0.5


def rebuild(moments: Moments, kernel: np.ndarray, ridge: float = RIDGE) -> tuple[np.ndarray, np.ndarray]:
    """Solves for the kernel and bias that come closest to the target, see the module's docstring.

    Args:
        moments: Of the columns that stay and their target.
        kernel: W_K, the rows of the old kernel for those columns, `[k, H]`.
        ridge: c, as a part of the mean diagonal of G.

    Returns:
        W' `[k, H]` and b' `[H]`, float64.

    Raises:
        ValueError: There are no rows.
    """
    if not moments.count:
        raise ValueError("no rows; expected calibration text.")
    gram = moments.gram
    residual = moments.cross - gram @ kernel
    gram[np.diag_indices_from(gram)] += ridge_of(gram, ridge)
    rebuilt = kernel + linalg.solve(gram, residual, assume_a="pos")
    return rebuilt, (moments.targets - moments.inputs @ rebuilt) / moments.count
