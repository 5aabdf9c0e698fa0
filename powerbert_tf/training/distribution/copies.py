"""Copies of a model on other devices, and the way back of their weights."""

import contextlib
import weakref
from collections.abc import Callable
from typing import Any

import keras

from powerbert_tf.models.precision import computing_in


def copied(model: keras.Model, devices: contextlib.AbstractContextManager) -> keras.Model:
    """A new model with the same weights.

    Args:
        model: A `BertClassifier`, or another model that its configuration describes completely.
        devices: A block that creates variables where the copy belongs.
    """
    with computing_in(model.dtype_policy.name), devices:
        copy = type(model).from_config(model.get_config())
    assign_all(model, copy)
    return copy


class Copies:
    """A cache with one copy of each model, kept as long as the model is."""

    def __init__(self) -> None:
        self._kept: weakref.WeakKeyDictionary[Any, tuple[keras.Model, Callable[..., Any]]] = weakref.WeakKeyDictionary()

    def function(
        self,
        model: keras.Model,
        devices: contextlib.AbstractContextManager,
        make: Callable[[keras.Model], Callable[..., Any]],
    ) -> Callable[..., Any]:
        """The function that `make` makes, once, of a model's copy, which gets the model's present values."""
        if model in self._kept:
            assign_all(model, self._kept[model][0])
        else:
            copy = copied(model, devices)
            self._kept[model] = copy, make(copy)
        return self._kept[model][1]


def assign_all(source: keras.Model, target: keras.Model) -> None:
    """Copies all values, including random states, to a model of the same structure."""
    for kind in (lambda model: model.weights, seed_states):
        for value, variable in zip(kind(source), kind(target), strict=True):
            if value.shape != variable.shape:
                raise ValueError(f"{variable.path} is {variable.shape}, {value.path} {value.shape}; expected the same.")
            variable.assign(keras.ops.convert_to_numpy(value))


def seed_states(model: keras.Model) -> list[keras.Variable]:
    """The states of the random generators of a model."""
    weights = {id(weight) for weight in model.weights}
    return [variable for variable in model.variables if id(variable) not in weights]


class BringBack(keras.callbacks.Callback):
    """Copies the weights back to the original after each epoch, before other callbacks evaluate and save it."""

    def __init__(self, copy: keras.Model, source: keras.Model):
        super().__init__()
        self._copy = copy
        self._source = source

    def on_epoch_end(self, epoch, logs=None):
        assign_all(self._copy, self._source)
