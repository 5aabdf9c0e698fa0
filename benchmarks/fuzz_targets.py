"""What is fuzzed: each kind of input by its name."""

from collections.abc import Callable
from pathlib import Path

from benchmarks import fuzz_checkpoints, fuzz_commands, fuzz_runs, fuzz_tables
from benchmarks.fuzz_kind import Kind

_MAKERS: dict[str, Callable[[Path], Kind]] = {
    "bert_config.json": fuzz_checkpoints.bert_config,
    "checkpoint index": fuzz_checkpoints.checkpoint_index,
    "checkpoint data": fuzz_checkpoints.checkpoint_data,
    "safetensors header": fuzz_checkpoints.safetensors,
    "vocab.txt": fuzz_checkpoints.vocabulary,
    "TSV": fuzz_tables.tsv,
    "retention.json": fuzz_runs.retention,
    "task.json": fuzz_tables.task,
    "result.json": fuzz_runs.result,
    "command line": fuzz_commands.command,
}
KINDS = tuple(_MAKERS)


def make_kinds(folder: Path, names: tuple[str, ...] = ()) -> dict[str, Kind]:
    """The kinds of inputs.

    Args:
        folder: Empty, for sound files and for what is written while inputs are read; it has to be the working
            directory, as command lines name files below it.
        names: Which; none for all.
    """
    return {name: make(folder / name) for name, make in _MAKERS.items() if name in names or not names}
