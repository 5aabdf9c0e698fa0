"""Assigning arrays to a model's weights: each exactly once, shapes checked, nothing missing, nothing left over."""

from collections.abc import Mapping

import keras
import numpy as np

from powerbert_tf.errors import InputError


def named_weights(model: keras.Model) -> dict[str, keras.Variable]:
    """The model's weights by their path, such as `encoder_0/attention/query/kernel`."""
    return {variable.path: variable for variable in model.weights}


def list_names(names: set[str] | list[str], limit: int = 5) -> str:
    """A few names for an error message, and how many more there are."""
    names = sorted(names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def assign_weights(
    model: keras.Model, weights: Mapping[str, np.ndarray], source: str, may_lack: frozenset[str] = frozenset()
) -> None:
    """Assigns every array to the weight of the same path. All is checked before the first is assigned.

    Args:
        model: The model.
        weights: Path -> array.
        source: Where the arrays are from, for messages.
        may_lack: Paths that keep their value where `weights` has none.

    Raises:
        InputError: A weight is missing, an array is left over, a shape differs or a value is no finite number.
    """
    variables = named_weights(model)
    missing = variables.keys() - weights.keys() - may_lack
    if missing:
        raise InputError(f"{source}: lacks {list_names(missing)}.")
    left_over = weights.keys() - variables.keys()
    if left_over:
        raise InputError(f"{source}: holds weights that this model does not have: {list_names(left_over)}.")
    for path, array in weights.items():
        if tuple(array.shape) != tuple(variables[path].shape):
            raise InputError(
                f"{source}: {path} has shape {tuple(array.shape)}; expected {tuple(variables[path].shape)}."
            )
        if not np.all(np.isfinite(array)):
            raise InputError(f"{source}: {path} holds values that are not finite; the checkpoint is damaged.")
    for path, array in weights.items():
        variables[path].assign(array)
