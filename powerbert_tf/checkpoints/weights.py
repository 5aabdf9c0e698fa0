"""Assigns arrays to a model's weights: each exactly once, with shapes checked, none missing and none left over."""

import dataclasses
from collections.abc import Mapping

import keras
import numpy as np

from powerbert_tf.common.errors import InputError
from powerbert_tf.models.classifier import BertClassifier
from powerbert_tf.models.narrow import widened

_FUSED = "query_key_value"  # a layer in a path; it has one variable here, and three in other tools
_MOST_LISTED = 5  # names in a message


@dataclasses.dataclass(frozen=True)
class Weight:
    """A weight as other tools know it: a variable of the model, or some of its columns."""

    variable: keras.Variable
    columns: slice

    @property
    def shape(self) -> tuple[int, ...]:
        *rows, width = self.variable.shape
        return (*rows, len(range(width)[self.columns]))

    def numpy(self) -> np.ndarray:
        """A copy of the values."""
        return keras.ops.convert_to_numpy(self.variable)[..., self.columns].copy()

    def assign(self, array: np.ndarray) -> None:
        """Sets the values to an array of the same shape."""
        values = np.array(keras.ops.convert_to_numpy(self.variable))
        values[..., self.columns] = array
        self.variable.assign(values)


def named_weights(model: keras.Model) -> dict[str, Weight]:
    """The model's weights by path, such as `encoder_0/attention/query/kernel`."""
    weights: dict[str, Weight] = {}
    for variable in model.weights:
        if f"/{_FUSED}/" in variable.path:
            names = _FUSED.split("_")
            width = variable.shape[-1] // len(names)
            for part, name in enumerate(names):
                columns = slice(part * width, (part + 1) * width)
                weights[variable.path.replace(_FUSED, name)] = Weight(variable, columns)
        else:
            weights[variable.path] = Weight(variable, slice(None))
    return weights


def in_one_width(model: BertClassifier) -> BertClassifier:
    """The model in formats that have one width for all encoders: all heads, and the neurons of the widest encoder."""
    return widened(model, max(model.config.encoder_neurons)) if model.config.is_narrowed else model


def list_names(names: set[str] | list[str]) -> str:
    """The first few names, for an error message, and how many more there are."""
    names = sorted(names)
    more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
    return ", ".join(names[:_MOST_LISTED]) + more


def require_all(missing: set[str], source: str) -> None:
    """Raises an InputError if names of weights are missing from `source`."""
    if missing:
        raise InputError(f"{source}: lacks {list_names(missing)}.")


def assign_weights(
    model: keras.Model, weights: Mapping[str, np.ndarray], source: str, may_lack: frozenset[str] = frozenset()
) -> None:
    """Assigns every array (path -> array) to the weight of the same path, after checking them all.

    `source` says in messages where the arrays come from. Paths in `may_lack` keep their value if there is no array.

    Raises:
        InputError: A weight is missing, an array is left over, a shape differs, or a value is not finite.
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
