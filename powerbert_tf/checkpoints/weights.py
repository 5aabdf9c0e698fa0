"""Assigning arrays to a model's weights: each exactly once, shapes checked, nothing missing, nothing left over."""

import dataclasses
from collections.abc import Mapping

import keras
import numpy as np

from powerbert_tf.common.errors import InputError

_FUSED = "query_key_value"  # the last part of a layer's name in a path; one variable here, three in other tools


@dataclasses.dataclass(frozen=True)
class Weight:
    """A weight as other tools know it: a variable, or some of its columns.

    Attributes:
        variable: Of the model.
        part: Which of the `parts` equal shares of the last axis.
        parts: How many there are; 1 where the weight is the variable.
    """

    variable: keras.Variable
    part: int = 0
    parts: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        *rows, columns = self.variable.shape
        return (*rows, columns // self.parts)

    @property
    def _columns(self) -> slice:
        width = self.shape[-1]
        return slice(self.part * width, (self.part + 1) * width)

    def numpy(self) -> np.ndarray:
        """A copy of the values."""
        return keras.ops.convert_to_numpy(self.variable)[..., self._columns].copy()

    def assign(self, array: np.ndarray) -> None:
        """Takes over new values of the same shape."""
        values = np.array(keras.ops.convert_to_numpy(self.variable))
        values[..., self._columns] = array
        self.variable.assign(values)


def named_weights(model: keras.Model) -> dict[str, Weight]:
    """The model's weights by their path, such as `encoder_0/attention/query/kernel`."""
    weights: dict[str, Weight] = {}
    for variable in model.weights:
        if f"/{_FUSED}/" in variable.path:
            names = _FUSED.split("_")
            for part, name in enumerate(names):
                weights[variable.path.replace(_FUSED, name)] = Weight(variable, part, len(names))
        else:
            weights[variable.path] = Weight(variable)
    return weights


def list_names(names: set[str] | list[str], limit: int = 5) -> str:
    """A few names for an error message, and how many more there are."""
    names = sorted(names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def require_all(missing: set[str], source: str) -> None:
    """Raises an InputError where names of weights are missing from `source`."""
    if missing:
        raise InputError(f"{source}: lacks {list_names(missing)}.")


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
    require_all(variables.keys() - weights.keys() - may_lack, source)
    left_over = weights.keys() - variables.keys()
    if left_over:
        raise InputError(f"{source}: holds weights that this model does not have: {list_names(left_over)}.")
    for path, array in weights.items():
        if tuple(array.shape) != variables[path].shape:
            raise InputError(f"{source}: {path} has shape {tuple(array.shape)}; expected {variables[path].shape}.")
        if not np.all(np.isfinite(array)):
            raise InputError(f"{source}: {path} holds values that are not finite; the checkpoint is damaged.")
    for path, array in weights.items():
        variables[path].assign(array)
