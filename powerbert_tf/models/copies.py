"""A model's copy on other devices, and its weights brought back."""

import contextlib
import weakref
from collections.abc import Callable
from typing import Any

import keras

from powerbert_tf.models.precision import computing_in


def copied(model: keras.Model, devices: contextlib.AbstractContextManager) -> keras.Model:
    """A model of its own with the same weights; a `BertClassifier`, or what can be made alike.

    Args:
        model: What is copied.
        devices: A block in which variables are made where the copy is to be.
    """
    with computing_in(model.dtype_policy.name), devices:
        copy = type(model).from_config(model.get_config())
    assign_all(model, copy)
    return copy


class Copies:
    """A copy of each model that is asked on other devices, kept as long as the model is."""

    def __init__(self) -> None:
        self._kept: weakref.WeakKeyDictionary[Any, tuple[keras.Model, Callable[..., Any]]] = weakref.WeakKeyDictionary()

    def function(
        self,
        model: keras.Model,
        devices: contextlib.AbstractContextManager,
        make: Callable[[keras.Model], Callable[..., Any]],
    ) -> Callable[..., Any]:
        """What was made of a model's copy, which has the model's values of now.

        Args:
            model: See `copied`.
            devices: See there.
            make: Makes the function of the copy, once.
        """
        if model in self._kept:
            assign_all(model, self._kept[model][0])
        else:
            copy = copied(model, devices)
            self._kept[model] = copy, make(copy)
        return self._kept[model][1]


def assign_all(source: keras.Model, target: keras.Model) -> None:
    """Gives a model all values of one that is made alike, those of its random states, too."""
    for kind in (lambda model: model.weights, seed_states):
        for value, variable in zip(kind(source), kind(target), strict=True):
            if value.shape != variable.shape:
                raise ValueError(f"{variable.path} is {variable.shape}, {value.path} is {value.shape}; expected alike.")
            variable.assign(keras.ops.convert_to_numpy(value))


def seed_states(model: keras.Model) -> list[keras.Variable]:
    """The states of its random generators."""
    weights = {id(weight) for weight in model.weights}
    return [variable for variable in model.variables if id(variable) not in weights]


class BringBack(keras.callbacks.Callback):
    """Brings the weights of a copy back to the model it was made of, before others evaluate and save that."""

    def __init__(self, copy: keras.Model, source: keras.Model):
        super().__init__()
        self._copy = copy
        self._source = source

    def on_epoch_end(self, epoch, logs=None):
        assign_all(self._copy, self._source)
