"""The trained head of a checkpoint, brought to the classes of a task."""

from collections.abc import Mapping, Sequence

import numpy as np

from powerbert_tf.checkpoints.names import HEAD

_MOST_NAMES = 8  # in a message


def fit_head(
    weights: Mapping[str, np.ndarray], own: Sequence[str], classes: Sequence[str], num_outputs: int, problem: str = ""
) -> tuple[dict[str, np.ndarray], str]:
    """Brings a checkpoint's head to the order of a task's classes, or removes it where it answers something else.

    Names are the same if they differ in case alone. Classes that are numbered from 0, as the files of many GLUE tasks
    do, are those of the head in its order: numbers say nothing else.

    Args:
        weights: Arrays by name, among them those of the head: kernel `[H, C]` and bias `[C]`.
        own: Names of the head's classes, in its order; empty if it has none.
        classes: Names of the task's classes, in the order that the logits shall have; empty to keep the head's order.
        num_outputs: C of the task; 1 for a regression.
        problem: What the head answers, if that is not what the task asks for.

    Returns:
        The weights, without a head if its classes are others; and what was done, empty if nothing was.
    """
    without = {path: array for path, array in weights.items() if path not in HEAD}
    found = len(weights[HEAD[1]])
    if found != num_outputs:
        return without, f"its head has {found} outputs, the task {num_outputs}; a new head is made"
    if problem:
        return without, f"its head answers {problem}; a new head is made"
    if not classes or num_outputs == 1 or tuple(classes) == tuple(map(str, range(num_outputs))):
        return dict(weights), ""
    if not own:
        return dict(weights), f"its head has no class names; its outputs are taken for {_shown(classes)}, in this order"
    places = {name.casefold(): place for place, name in enumerate(own)}
    wanted = [name.casefold() for name in classes]
    if sorted(places) != sorted(wanted):
        return without, f"its head has the classes {_shown(own)}, not {_shown(classes)}; a new head is made"
    order = [places[name] for name in wanted]
    if order == sorted(order):
        return dict(weights), ""
    kernel, bias = HEAD
    permuted = {**weights, kernel: weights[kernel][:, order], bias: weights[bias][order]}
    return permuted, f"its head has its classes in another order, {_shown(own)}; reordered to {_shown(classes)}"


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST_NAMES]) + (", ..." if len(names) > _MOST_NAMES else "")
