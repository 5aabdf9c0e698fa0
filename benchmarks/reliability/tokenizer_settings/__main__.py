"""Combinations of a tokenizer's settings, as `transformers` writes them: the same ids, or a refusal by name.

python -m benchmarks.reliability.tokenizer_settings --draws=10000

Each draw is a small folder of one architecture: settings of `config.json`, `tokenizer_config.json` and `tokenizer.json`
at random, most of them usual ones, and the files that versions of `transformers` leave: `tokenizer.json`, the files of
the vocabulary, or all. Where the folder is taken, ids and segments of texts and pairs must be those of `tokenizers`,
or of the class of `transformers` where there is no `tokenizer.json`; where it is refused, the message must name one of
the settings that were drawn. Anything else is a failure.
"""

import concurrent.futures
import json
import multiprocessing
from collections.abc import Iterator, Sequence
from typing import Any

from absl import app, flags

from benchmarks.common.command import FLAGS, define_output_flag, output_path, publish, surroundings
from benchmarks.common.markdown import measured_on, page, table
from benchmarks.reliability.tokenizer_settings.comparison import PAIRS, TEXTS, N, run

_CHUNK = 250  # draws of a process at a time


def run_in_processes(draws: range, processes: int) -> Iterator[dict[str, Any]]:
    """What `run` returns, of several processes, again and again: of more and more draws."""
    chunks = [draws[first : first + _CHUNK] for first in range(0, len(draws), _CHUNK)]
    total: dict[str, Any] = {}
    with concurrent.futures.ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        for found in pool.map(_run_quietly, chunks):
            total = {name: counts + total[name] if total else counts for name, counts in found.items()}
            yield total


def _run_quietly(draws: Sequence[int]) -> dict[str, Any]:
    import transformers

    from powerbert_tf.common.reporting import reporting

    transformers.utils.logging.set_verbosity_error()
    with reporting(verbose=0):
        return run(draws)


def to_markdown(report: dict[str, Any]) -> str:
    """The report as text."""
    counts = report["results"]
    return page(
        "# Settings of tokenizers",
        f"{measured_on(report)} {sum(counts['outcomes'].values())} folders; ids and segments of {len(TEXTS)} texts and "
        f"{len(PAIRS)} pairs in each, N = {N}.",
        table([{"outcome": name, "folders": count} for name, count in sorted(counts["outcomes"].items())]),
        "What the folders that were taken are:",
        table([{"architecture": name, "folders": count} for name, count in sorted(counts["taken"].items())]),
        "What the refusals name:",
        table([{"setting": name, "folders": count} for name, count in sorted(counts["refused"].items())]),
    )


def main(_: Sequence[str]) -> None:
    """Draws, writes JSON and Markdown, and fails where anything is wrong."""
    output = output_path("tokenizer_settings")
    results: dict[str, Any] = {}
    for results in run_in_processes(range(FLAGS.first, FLAGS.first + FLAGS.draws), FLAGS.processes):
        report = {**surroundings("benchmarks.reliability.tokenizer_settings"), "results": results}
        publish(report, output, to_markdown(report))  # after each chunk: all of them take long
    for failure in results["failures"][:20]:
        print(json.dumps(failure))
    if results["failures"]:
        raise SystemExit(f"{len(results['failures'])} failures.")


if __name__ == "__main__":
    define_output_flag()
    flags.DEFINE_integer("draws", 1000, "How many combinations.", lower_bound=1)
    flags.DEFINE_integer("processes", 1, "How many processes share them.", lower_bound=1)
    flags.DEFINE_integer("first", 0, "Number of the first one.", lower_bound=0)
    app.run(main)
