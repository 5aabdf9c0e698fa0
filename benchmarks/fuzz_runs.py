"""Wrong files of earlier runs: results of stages, and a retention configuration."""

import itertools
import json
import random
from pathlib import Path

from benchmarks import fuzz_corpus as corpus
from benchmarks.fuzz_kind import Kind, require
from benchmarks.fuzz_mutations import mutate_json
from powerbert_tf.elimination.retention import RETENTION_FILE, read_retention
from powerbert_tf.export.cards import quality_rows
from powerbert_tf.reports.acceleration_report import make_report
from powerbert_tf.reports.pareto import Baseline, Point, pareto_table
from powerbert_tf.reports.sections import headline
from powerbert_tf.reports.seeds import format_seeds, summarize_seeds
from powerbert_tf.runs.folder import RESULT_FILE
from powerbert_tf.runs.plan import plan_stages
from powerbert_tf.runs.preparation import prepare
from powerbert_tf.runs.settings import STAGES, resolve_settings
from powerbert_tf.runs.summaries import as_evaluated, print_summary
from powerbert_tf.runs.trained import load_trained


def retention(folder: Path) -> Kind:
    """`retention.json`."""
    folder.mkdir(parents=True)
    sound = [dict(corpus.RETENTION), {**corpus.RETENTION, "kind": "counts", "values": [99, 40, 1], "budgets": []}]
    words = ["counts", "fractions", "attention", "head", "random", "values", "kind", "budgets", "target_speedup"]

    def mutate(draw: random.Random) -> bytes:
        return mutate_json(draw.choice(sound), draw, words)

    def read(data: bytes) -> None:
        (folder / RETENTION_FILE).write_bytes(data)
        found = read_retention(folder)
        for values in (found.values, *found.budgets.values()):
            require(all(a >= b > 0 for a, b in itertools.pairwise(values)), "entries that increase")
            require(0 < values[-1] <= values[0] <= found.max_seq_length, "entries out of their range")
        require(all(0 < target < float("inf") for target in found.budgets), "targets that are none")

    return Kind(tuple(json.dumps(values).encode() for values in sound), mutate, read)


def result(folder: Path) -> Kind:
    """`result.json` of every stage, with what later stages and reports make of it."""
    (folder / "checkpoint").mkdir(parents=True)
    corpus.write_google(folder / "checkpoint")
    corpus.write_data(folder / "data")
    settings = resolve_settings(
        "SST-2", checkpoint=str(folder / "checkpoint"), data_dir=str(folder / "data"), output_dir=str(folder / "runs"),
        max_seq_length=corpus.MAX_SEQ_LENGTH, cost_model="multiply_adds", cache_dir=str(folder / "cache"),
    )  # fmt: skip
    run = prepare(settings, folder / "runs" / "SST-2")
    corpus.write_results(run)
    sound = corpus.results(run)
    stages = list(sound)
    words = sorted({key for values in sound.values() for key in values})

    def mutate(draw: random.Random) -> bytes:
        which = draw.randrange(len(stages))
        return bytes([which]) + mutate_json(sound[stages[which]], draw, words)

    def read(data: bytes) -> None:
        stage = stages[data[0]]
        path = run.folder.stage(stage) / RESULT_FILE
        path.write_bytes(data[1:])
        try:
            _read_results(stage)
        finally:
            path.write_text(json.dumps(sound[stage]), encoding="utf-8")

    def _read_results(stage: str) -> None:
        """Everything that later stages and later runs read of the results of earlier ones."""
        plan_stages(run, STAGES, overwrite=True)
        result = run.folder.result(stage)
        assert result is not None
        run.configuration()
        quality_rows("retrain", run.folder.result("evaluate"), None)
        quality_rows("elastic", None, run.folder.result("elastic"))
        print_summary(run)
        evaluated = run.folder.result("evaluate")
        assert evaluated is not None
        format_seeds(summarize_seeds({0: evaluated, 1: evaluated}), "SST-2")
        compared = {seed: as_evaluated(run.folder, "search") for seed in (0, 1)}
        format_seeds(summarize_seeds(compared), "SST-2")
        main = {**evaluated["reduced"]["metrics"], "name": evaluated["metric"], "dense": 0.5, "reduced": 0.5}
        headline({"metrics": [main], "speedup": evaluated["speedup"]})
        make_report(
            evaluated, run.split("dev").labels, run.task.is_regression, settings.inputs.max_seq_length, retrained=True
        )
        pareto = run.folder.result("pareto")
        assert pareto is not None
        points = [Point(**point) for point in pareto["points"]]
        pareto_table(points, pareto["metric"], [Baseline(**one) for one in pareto["baselines"]])
        load_trained(run.folder.root, {})

    return Kind(
        tuple(bytes([which]) + json.dumps(values).encode() for which, values in enumerate(sound.values())), mutate, read
    )
