"""What is read of each stage's `result.json` by later stages and later runs: which keys, and what kind of value.

Anything else in it may be as it likes. A shape is one of the names in `_KINDS`, `Each(shape)` for a list or an object
of any keys, or a mapping of keys to shapes; a key that ends with `?` may be missing, or hold null.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import PurePath
from types import MappingProxyType
from typing import Any

from powerbert_tf.common.errors import InputError
from powerbert_tf.elimination.retention import validate_configuration

_LARGEST = 1e300  # of numbers; JSON spells whole ones that no float holds


@dataclasses.dataclass(frozen=True)
class Each:
    """A list, or an object, of which each value has the same shape."""

    shape: Any
    container: type


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -_LARGEST < value < _LARGEST


def _is_configuration(value: Any) -> bool:
    if not isinstance(value, list):
        return False
    try:
        validate_configuration(value, len(value), 2**31)
    except (InputError, TypeError, IndexError):
        return False
    return True


def _is_below(value: Any) -> bool:
    if not isinstance(value, str) or not value or "\0" in value:
        return False
    path = PurePath(value)
    return not path.is_absolute() and ".." not in path.parts


_KINDS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "number": ("a number", _is_number),
    "positive": ("a positive number", lambda value: _is_number(value) and value > 0),
    "count": ("a whole number", lambda value: _is_number(value) and isinstance(value, int) and value >= 0),
    "text": ("a text", lambda value: isinstance(value, str) and "\0" not in value),
    "place": ("a path below the run's folder", _is_below),
    "configuration": ("a retention configuration", _is_configuration),
}


def _objects(shape: Any) -> Each:
    return Each(shape, dict)


def _list(shape: Any) -> Each:
    return Each(shape, list)


_METRICS = _objects("number")
_COST = {"dense": "positive", "reduced": "positive", "saved": "positive"}
_MAIN = {"metric": "text", "metrics": _METRICS}
_EXPORTED = {"path": "place"}

RESULT_SHAPES: Mapping[str, Any] = MappingProxyType(
    {
        "finetune": {**_MAIN, "epoch?": "count"},
        "search": {
            **_MAIN,
            "retention_configuration": "configuration",
            "search_method?": "text",
            "target_speedup?": "number",
            "predicted_speedup?": "number",
            "measured_speedup?": "number",
            "measured_speedup_over_padded?": "number",
            "profile?": {"fractions": _list("number"), "damages": _list(_list("number"))},
        },
        "retrain": {
            **_MAIN,
            "retention_configuration": "configuration",
            "metrics_before?": _METRICS,
            "epoch?": "count",
        },
        "evaluate": {
            **_MAIN,
            "dense": {"metrics": _METRICS},
            "reduced": {"metrics": _METRICS},
            "agreement": "number",
            "examples": "count",
            "further?": _objects({"dense": _METRICS, "reduced": _METRICS}),
            "per_class?": _objects({"precision": "number", "recall": "number", "f1": "number", "examples": "count"}),
            "retention_configuration": "configuration",
            "multiply_adds": {
                "padded": _COST,
                "unpadded": _COST,
                "padded_to_unpadded": _COST,
                "kept": _list("number"),
                "mean_length": "number",
            },
            "speedup": {
                **dict.fromkeys(("grouped", "batch", "padded", "predicted"), "number"),
                "milliseconds": {
                    "dense, grouped by length": "number",
                    "dense, padded to the batch": "number",
                    "dense, padded to N": "number",
                    "reduced, grouped by length": "number",
                },
                "batch_size": "count",
                "device": "text",
            },
        },
        "elastic": {
            **_MAIN,
            "budgets": _list(
                {
                    "target_speedup": "number",
                    "measured_speedup?": "number",
                    "metrics": _METRICS,
                    "retention_configuration": "configuration",
                }
            ),
        },
        "pareto": {
            **_MAIN,
            "points": _list(
                {
                    "strategy": "text",
                    "target_speedup": "positive",
                    "configuration": "configuration",
                    "predicted_speedup": "positive",
                    "speedup": "positive",
                    "speedup_padded": "positive",
                    "metric": "number",
                    "seed": "count",
                }
            ),
            "baselines": _list({"name": "text", "milliseconds": "positive", "speedup": "positive", "metric": "number"}),
            "measured_on": "text",
        },
        "export": {**_EXPORTED, "formats?": _objects(_EXPORTED)},
    }
)


def result_problem(stage: str, result: Mapping[str, Any]) -> str:
    """What of a result is not as its stage writes it, as far as anything reads it; empty where nothing is.

    Args:
        stage: Its name; of stages that nothing reads, all is as it should be.
        result: Content of the file.
    """
    shape = RESULT_SHAPES.get(stage, {})
    missing = [key for key in shape if not key.endswith("?") and key not in result]
    if missing:
        return f"lacks {', '.join(missing)}"
    return _problem("", result, shape) or _RELATIONS.get(stage, lambda _: "")(result)


def _of_evaluate(result: Mapping[str, Any]) -> str:
    """What its parts say of each other."""
    dense, reduced = (result[model]["metrics"] for model in ("dense", "reduced"))
    if dense.keys() != reduced.keys() or result["metric"] not in dense:
        return "the metrics of its two models are not the same, or its main metric is not among them"
    if len(result["multiply_adds"]["kept"]) != len(result["retention_configuration"]):
        return "multiply_adds.kept and retention_configuration have not the same number of entries"
    return ""


def _of_pareto(result: Mapping[str, Any]) -> str:
    """What its points say of each other."""
    found = [(point["strategy"], point["target_speedup"], point["seed"]) for point in result["points"]]
    twice = next((one for number, one in enumerate(found) if one in found[:number]), None)
    return f"points has {twice} twice (strategy, target_speedup and seed)" if twice else ""


_RELATIONS: Mapping[str, Callable[[Mapping[str, Any]], str]] = MappingProxyType(
    {"evaluate": _of_evaluate, "pareto": _of_pareto}
)


def _problem(where: str, value: Any, shape: Any) -> str:
    if isinstance(shape, str):
        described, holds = _KINDS[shape]
        return "" if holds(value) else f"{where} is {value!r}; expected {described}"
    if isinstance(shape, Each):
        if not isinstance(value, list | dict) or not isinstance(value, shape.container):
            return f"{where} is {value!r}; expected {'a list' if shape.container is list else 'an object'}"
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return next(filter(None, (_problem(f"{where}.{key}", one, shape.shape) for key, one in items)), "")
    if not isinstance(value, dict):
        return f"{where} is {value!r}; expected an object"
    for key, inner in shape.items():
        name = key.removesuffix("?")
        place = f"{where}.{name}" if where else name
        if name != key and value.get(name) is None:
            continue
        if name not in value:
            return f"{place} is missing"
        if problem := _problem(place, value[name], inner):
            return problem
    return ""
