"""Measured costs, kept in a file per device and checked against whole models before they are used."""

import dataclasses
import datetime
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from powerbert_tf.common.files import read_object, write_json
from powerbert_tf.elimination.retention import geometric_schedule
from powerbert_tf.latency.costs import NARROWED, PART_NAMES, Costs, CostTable
from powerbert_tf.latency.encoder_costs import known_widths, measure_costs, num_chained, random_batch
from powerbert_tf.latency.timing import device_name, measure_latency
from powerbert_tf.models.classifier import BertClassifier, with_retention
from powerbert_tf.models.config import BertConfig
from powerbert_tf.models.narrow import prefix

FORMAT = 3  # of the file; changes when what is measured changes
_TOLERANCE = 0.15  # of predicted speed-ups; repeated checks of a table on an idle machine differ by up to 0.1
_KEEP = 0.1  # fraction that the last encoder of the geometric schedule keeps, in the check
_KEEP_NARROWED = 0.3  # the same, of the model of the check whose encoders are narrower
_PARTS_OF_N = (8, 4, 2)  # lengths of the check: N / 8 and so on


def load_costs(
    config: BertConfig, max_seq_length: int, batch_size: int, folder: Path | None, jit_compile: bool = False
) -> CostTable:
    """Returns `measure_costs` from a file; measures only once per device, sizes and batch size.

    A table describes the machine as it was when measured, other work included. So each is checked on whole models
    before it is used: a stored table that is off by more than 15 % is measured again; a new one that is off is used
    with a warning, but not kept.

    The file is in `folder`; None measures every time. Failure to read or write it is only logged. The other arguments,
    and errors, are those of `measure_costs`.
    """
    if folder is None:
        return measure_costs(config, max_seq_length, batch_size, jit_compile=jit_compile)
    key = _key(config, max_seq_length, batch_size, jit_compile)
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    path = folder / f"costs-{digest[:12]}.json"
    table = _read_costs(path, key, config)
    if table is not None:
        error = prediction_error(table, config, max_seq_length, jit_compile=jit_compile)
        if error <= _TOLERANCE:
            return table
        logging.info("%s: its predictions are now off by %.0f %%.", path, 100 * error)
    logging.info("Measuring the parts of the model on %s; times are kept in %s.", key["device"], path)
    table = measure_costs(config, max_seq_length, batch_size, jit_compile=jit_compile, kept_in=path)
    error = prediction_error(table, config, max_seq_length, jit_compile=jit_compile)
    if error <= _TOLERANCE:
        _write_costs(path, key, table)
    else:
        logging.warning(
            "Predicted speed-ups are off by %.0f %%, perhaps because something else is running; the measured costs are "
            "used, but not kept: the next run measures again.",
            100 * error,
        )
    return table


def _key(config: BertConfig, max_seq_length: int, batch_size: int, jit_compile: bool) -> dict[str, Any]:
    """Everything a table depends on."""
    return {
        "format": FORMAT,
        "device": device_name(jit_compile),
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_attention_heads": config.num_attention_heads,
        "hidden_act": config.hidden_act,
        "vocab_size": config.vocab_size,
        "embedding_size": config.embedding_width,
        "shares_encoders": config.shares_encoders,
        "encoders_chained": num_chained(config),
        "max_seq_length": max_seq_length,
        "batch_size": batch_size,
    }


def _read_costs(path: Path, key: Mapping[str, Any], config: BertConfig) -> CostTable | None:
    """The table in a file, or None if it has to be measured."""
    try:
        stored = read_object(path)
        if {name: stored[name] for name in key} != key:
            raise ValueError("it was measured for something else")
        table = CostTable.from_json(stored)
        _check(table, config)
        return table
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        logging.warning("%s: not usable (%s: %s); measuring again.", path, type(error).__name__, error)
        return None


def _check(table: CostTable, config: BertConfig) -> None:
    rows = table.rows
    if rows.ndim != 1 or not len(rows) or (np.diff(rows) <= 0).any():
        raise ValueError(f"rows {rows.tolist()} are not increasing")
    for times in (getattr(table, name) for name in PART_NAMES):
        if times.shape != rows.shape or not (np.isfinite(times) & (times > 0)).all():
            raise ValueError(f"expected {len(rows)} positive times, found {times.tolist()}")
    for name, widths in known_widths(config).items():
        if not np.array_equal(table.widths[name], widths):
            raise ValueError(f"expected {name} {widths.tolist()}, found {table.widths[name].tolist()}")
        for ratios in (table.ratios[name][part] for part in NARROWED[name]):
            fits = ratios.shape == (len(widths), len(rows)) and (ratios > 0).all() and (ratios[-1] == 1).all()
            if not fits or not (np.diff(ratios, axis=0) >= 0).all():
                raise ValueError(f"expected ratios of {len(widths)} {name} that rise to 1, found {ratios.tolist()}")


def _write_costs(path: Path, key: Mapping[str, Any], table: CostTable) -> None:
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    stored = {**table.to_json(), **key, "date": date}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, stored)
    except OSError as error:
        logging.warning("%s: cannot be written (%s); the next run measures again.", path, error)


def prediction_error(
    table: CostTable, config: BertConfig, max_seq_length: int, repeats: int = 5, jit_compile: bool = False
) -> float:
    """By how much predicted speed-ups are off the measured ones: 0.1 for 10 % too high or too low.

    Two models take turns with the dense one at three lengths: one eliminates by a geometric schedule, the other by a
    milder one in encoders of 3/8 of the neurons and 2/3 of the heads. The mean of the factors of a model
    counts, of the model for which it is worse. Arguments and errors are those of `measure_costs`.
    """
    config = dataclasses.replace(config, neurons=None, heads=None)
    encoders = config.num_hidden_layers
    lengths = [max(max_seq_length // part, 1) for part in _PARTS_OF_N]
    dense = BertClassifier(config, num_classes=2, max_seq_length=max_seq_length)
    # Not a third of 1536: matrices of 512 columns take as long as those of 576, perhaps because a power of two uses few
    # sets of the cache.
    neurons, heads = max(3 * config.intermediate_size // 8, 1), max(2 * config.num_attention_heads // 3, 1)
    narrow = prefix(dense, [neurons] * encoders, [heads] * encoders)
    models = {
        "dense": dense,
        "reduced": with_retention(dense, geometric_schedule(_KEEP, encoders)),
        "narrowed": with_retention(narrow, geometric_schedule(_KEEP_NARROWED, encoders)),
    }
    batches = [random_batch(config, table.batch_size, length) for length in lengths]
    times = measure_latency(models, batches, repeats, jit_compile)

    def error(name: str) -> float:
        reduction = models[name].reduction
        predicted = [Costs(table, np.array([length]), encoders).speedup(reduction) for length in lengths]
        return abs(float(np.mean(np.log(predicted) - np.log(times["dense"] / times[name]))))

    return float(np.expm1(max(error("reduced"), error("narrowed"))))
