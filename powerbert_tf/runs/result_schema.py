"""The part of each stage's `result.json` that later stages and later runs read: keys, and kinds of values.

The rest of a result may be anything. A schema is a kind, `Each(schema)`, or a mapping of keys to schemas; a key that
ends with `?` may be missing, or hold null.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import PurePath
from types import MappingProxyType
from typing import Any

from powerbert_tf.common.errors import InputError
from powerbert_tf.elimination.reduction import WIDTHS
from powerbert_tf.elimination.retention import validate_configuration

RESULT_FILE = "result.json"  # in the folder of a stage
OUT_OF_DATE = "out_of_date"  # key of a result: why it is, see `folder.RunFolder.expire`
_LARGEST = 1e300  # JSON can spell integers that no float holds


@dataclasses.dataclass(frozen=True)
class Each:
    """A list, or an object with any keys, whose values all have the same schema."""

    schema: Any
    container: type = list


@dataclasses.dataclass(frozen=True)
class _Kind:
    """A kind of value: its name in error messages, and whether a value is of it."""

    name: str
    holds: Callable[[Any], bool]


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


_NUMBER = _Kind("a number", _is_number)
_POSITIVE = _Kind("a positive number", lambda value: _is_number(value) and value > 0)
_COUNT = _Kind("a whole number", lambda value: _is_number(value) and isinstance(value, int) and value >= 0)
_TEXT = _Kind("a text", lambda value: isinstance(value, str) and "\0" not in value)
_PLACE = _Kind("a path below the run's folder", _is_below)
_ANYTHING = _Kind("any value", lambda value: True)
_CONFIGURATION = _Kind("a retention configuration", _is_configuration)

_WIDTHS = {f"{name}?": Each(_COUNT) for name in WIDTHS}
_REDUCTION = {"retention_configuration": _CONFIGURATION, **_WIDTHS}

_METRICS = Each(_NUMBER, dict)
_FITTED = {"temperature?": _POSITIVE, "thresholds?": Each(_NUMBER)}  # thresholds of a multi-label task
_MODEL = {"metrics": _METRICS}
_MAIN = {"metric": _TEXT, "metrics": _METRICS}
_MAIN_OF_KERAS = {"metric": _TEXT, "keras": _METRICS}
_COST = dict.fromkeys(("dense", "reduced", "saved"), _POSITIVE)
_EXPORTED = {"path": _PLACE}
_MEASURED = (
    "dense, grouped by length",
    "dense, padded to the batch",
    "dense, padded to N",
    "reduced, grouped by length",
)
_SPEEDUPS = ("target_speedup?", "predicted_speedup?", "measured_speedup?", "measured_speedup_over_padded?")

RESULT_SCHEMAS: Mapping[str, Any] = MappingProxyType(
    {
        "finetune": {**_MAIN, "epoch?": _COUNT, **_FITTED},
        "search": {
            **_MAIN,
            **_REDUCTION,
            "search_method?": _TEXT,
            **dict.fromkeys(_SPEEDUPS, _NUMBER),
            "profile?": {"fractions": Each(_NUMBER), "damages": Each(Each(_NUMBER))},
        },
        "retrain": {
            **_MAIN,
            **_REDUCTION,
            "metrics_before?": _METRICS,
            "epoch?": _COUNT,
            **_FITTED,
        },
        "evaluate": {
            **_MAIN,
            "dense": _MODEL,
            "reduced": _MODEL,
            "agreement": _NUMBER,
            "examples": _COUNT,
            "further?": Each({"dense": _METRICS, "reduced": _METRICS}, dict),
            "interval?": Each(_NUMBER),
            "commonest?": Each(_NUMBER, dict),
            "constant?": _NUMBER,
            "calibration?": Each(dict.fromkeys(("temperature", "before", "after"), _NUMBER), dict),
            "per_class?": Each({**dict.fromkeys(("precision", "recall", "f1"), _NUMBER), "examples": _COUNT}, dict),
            **_REDUCTION,
            "multiply_adds": {
                **dict.fromkeys(("padded", "unpadded", "padded_to_unpadded"), _COST),
                "kept": Each(_NUMBER),
                "mean_length": _NUMBER,
            },
            "speedup": {
                **dict.fromkeys(("grouped", "batch", "padded", "predicted"), _NUMBER),
                "milliseconds": dict.fromkeys(_MEASURED, _NUMBER),
                "alone?": dict.fromkeys(("dense", "reduced"), _POSITIVE),
                "batch_size": _COUNT,
                "device": _TEXT,
            },
        },
        "elastic": {
            **_MAIN,
            **_FITTED,
            "budgets": Each(
                {
                    "target_speedup": _NUMBER,
                    "measured_speedup?": _NUMBER,
                    "metrics": _METRICS,
                    **_REDUCTION,
                    **_FITTED,
                }
            ),
        },
        "pareto": {
            **_MAIN,
            "points": Each(
                {
                    "strategy": _TEXT,
                    "configuration": _CONFIGURATION,
                    **_WIDTHS,
                    **dict.fromkeys(("target_speedup", "predicted_speedup", "speedup", "speedup_padded"), _POSITIVE),
                    "metric": _NUMBER,
                    "seed": _COUNT,
                }
            ),
            "baselines": Each({"name": _TEXT, "milliseconds": _POSITIVE, "speedup": _POSITIVE, "metric": _NUMBER}),
            "measured_on": _TEXT,
        },
        "export": {**_EXPORTED, "formats?": Each(_EXPORTED, dict)},
        "deploy": {
            **_MAIN_OF_KERAS,
            "limits": dict.fromkeys(("percentile", "latency_ms", "max_loss"), _NUMBER),
            "requests": {"fingerprint": _TEXT},
            "forms": Each({"at_ms": _POSITIVE, "loss": _NUMBER, "metrics": _METRICS}, dict),
            "failed": Each(_TEXT, dict),
            "chosen?": {
                **{"form": _TEXT, "title": _TEXT, "format": _TEXT, "model": _PLACE, "serve": _PLACE},
                "export": Each(_ANYTHING, dict),
            },
        },
    }
)


def result_problem(stage: str, result: Mapping[str, Any]) -> str:
    """Describes the first thing that is wrong with a result; empty if nothing is, or if the stage has no schema."""
    schema = RESULT_SCHEMAS.get(stage, {})
    missing = [key for key in schema if not key.endswith("?") and key not in result]
    if missing:
        return f"lacks {', '.join(missing)}"
    return _problem("", result, schema) or _RELATIONS.get(stage, lambda _: "")(result)


def _evaluate_problem(result: Mapping[str, Any]) -> str:
    dense, reduced = (result[model]["metrics"] for model in ("dense", "reduced"))
    if dense.keys() != reduced.keys() or result["metric"] not in dense:
        return "its two models have different metrics, or the main metric is not among them"
    if len(result.get("interval") or (0, 0)) != 2:
        return "interval has other than 2 entries"
    if len(result["multiply_adds"]["kept"]) != len(result["retention_configuration"]):
        return "multiply_adds.kept and retention_configuration have different numbers of entries"
    return ""


def _pareto_problem(result: Mapping[str, Any]) -> str:
    found = [(point["strategy"], point["target_speedup"], point["seed"]) for point in result["points"]]
    twice = next((one for number, one in enumerate(found) if one in found[:number]), None)
    return f"points has {twice} twice (strategy, target_speedup and seed)" if twice else ""


_RELATIONS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "evaluate": _evaluate_problem,
    "pareto": _pareto_problem,
}


def _problem(where: str, value: Any, schema: Any) -> str:
    if isinstance(schema, _Kind):
        return "" if schema.holds(value) else f"{where} is {value!r}; expected {schema.name}"
    if isinstance(schema, Each):
        if not isinstance(value, list | dict) or not isinstance(value, schema.container):
            return f"{where} is {value!r}; expected {'a list' if schema.container is list else 'an object'}"
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return next(filter(None, (_problem(f"{where}.{key}", one, schema.schema) for key, one in items)), "")
    if not isinstance(value, dict):
        return f"{where} is {value!r}; expected an object"
    for key, inner in schema.items():
        name = key.removesuffix("?")
        place = f"{where}.{name}" if where else name
        if name != key and value.get(name) is None:
            continue
        if name not in value:
            return f"{place} is missing"
        if problem := _problem(place, value[name], inner):
            return problem
    return ""
