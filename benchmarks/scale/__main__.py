"""Many devices: that they give the losses of one, what a step takes, and, on paper, what large ones would take.

`python -m benchmarks.scale` trains a small model in every way on 1 device, on 2 and 4 logical CPU devices, in 2 and 3
processes on the loopback and on 8 virtual devices of JAX, compares losses, metrics and logits, and exits with code 1
where they differ; then it times a larger model. All share the cores of one machine: the times show what sharing costs,
not what it gains. `--notimes` leaves them out.
"""

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import app, flags

from benchmarks.common.command import FLAGS, RESULTS, define_flags, output_path, publish, surroundings
from benchmarks.common.markdown import measured_on, page, table
from benchmarks.common.models import SHAPES
from benchmarks.scale.cluster import run_job
from benchmarks.scale.process import KINDS, Job
from powerbert_tf.elimination.operations import multiply_adds
from powerbert_tf.models.config import BertConfig

TOLERANCE = 1e-4  # of the loss of a step
_MEASURED = RESULTS / "training-bert_base-stages.json"
_STEP = "ours, fine-tuning"
_MNLI_ROWS, _CLASSES, _EPOCHS, _LENGTH = 392_702, 3, 3, 128
_GRADIENT_BYTES = 4  # float32
_PASSES = 3  # forward, and backward to inputs and to weights

# Distribution, logical devices, processes, virtual devices of JAX in each.
WAYS = {
    "one device": ("none", 1, 1, 0),
    "mirrored, 2 devices": ("mirrored", 2, 1, 0),
    "mirrored, 4 devices": ("mirrored", 4, 1, 0),
    "multi_worker, 2 processes": ("multi_worker", 1, 2, 0),
    "multi_worker, 3 processes": ("multi_worker", 1, 3, 0),
    "JAX, one device": ("none", 1, 1, 1),
    "JAX, 8 devices": ("mirrored", 1, 1, 8),
    "JAX, 2 processes of 2 devices": ("multi_worker", 1, 2, 2),
}

_SMALL = dataclasses.replace(
    SHAPES["minilm"],
    vocab_size=97,
    num_hidden_layers=2,
    num_attention_heads=4,
    hidden_size=32,
    intermediate_size=64,
    max_position_embeddings=64,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)


@dataclasses.dataclass(frozen=True)
class Hardware:
    """Devices that this estimate is for."""

    name: str  # with their number
    devices: int  # R
    flops: float  # peak of one in bfloat16, per second; a multiply-add is two
    link: float  # bytes per second at the narrowest place of a ring through all, or of several in parallel
    source: str  # of both numbers


HARDWARE = (
    Hardware(
        "TPU v5e-8",
        8,
        197e12,
        50e9,
        "Google Cloud, TPU v5e: 197 TFLOPS in bfloat16 a chip; four ports of 400 Gbit/s each, of which a ring uses one",
    ),
    Hardware(
        "64 A100 (8 DGX A100)",
        64,
        312e12,
        200e9,
        "NVIDIA, A100 data sheet: 312 TFLOPS in bfloat16, dense; DGX A100: 8 x 200 Gbit/s out of a machine of 8, "
        "all used by rings in parallel; less than the 300 GB/s of NVLink within",
    ),
)


def share_of_peak(measured: Mapping[str, Any]) -> float:
    """The rate of a step in a report of `benchmarks.training`, as a share of its largest matrix product."""
    (step,) = (row for row in measured["results"] if row["engine"] == _STEP and row["length"] == _LENGTH)
    (counted,) = (row for row in measured["multiply_adds"] if row["length"] == _LENGTH)
    done = _PASSES * step["batch"] * counted["dense"]
    return done / (step["p50_ms"] / 1000 * measured["matrix_product_peak"])


def count_weights(config: BertConfig, num_classes: int) -> int:
    """Counts the numbers in the weights of a classifier."""
    hidden, inner = config.hidden_size, config.intermediate_size
    tables = (config.vocab_size + config.max_position_embeddings + config.type_vocab_size) * hidden
    layer_norm = 2 * hidden
    encoder = 4 * (hidden + 1) * hidden + (hidden + 1) * inner + (inner + 1) * hidden + 2 * layer_norm
    head = (hidden + 1) * (hidden + num_classes)
    return tables + layer_norm + config.num_hidden_layers * encoder + head


def estimate(config: BertConfig, hardware: Hardware, batch_size: int, share: float) -> dict[str, Any]:
    """A step of data-parallel fine-tuning, rows of 128 tokens, as a row of the table.

        compute = 3 * rows of a device * multiply-adds of a row / (share * peak / 2)
        sent    = 2 (R - 1) / R * 4 bytes * weights           a ring's all-reduce, each device
        step    = compute + sent / link                       as if nothing of it overlapped

    `share` is that of the peak, as measured elsewhere; `batch_size` is that of all devices.
    """
    rows = -(-batch_size // hardware.devices)
    compute = _PASSES * rows * multiply_adds(config.encoder_size, _LENGTH) / (share * hardware.flops / 2)
    sent = 2 * (hardware.devices - 1) / hardware.devices * _GRADIENT_BYTES * count_weights(config, _CLASSES)
    step = compute + sent / hardware.link
    steps = _EPOCHS * -(-_MNLI_ROWS // batch_size)
    return {
        "devices": hardware.name,
        "batch": batch_size,
        "rows a device": rows,
        "MB sent a device": sent / 1e6,
        "compute ms": 1000 * compute,
        "all-reduce ms": 1000 * sent / hardware.link,
        "step ms": 1000 * step,
        "minutes, 3 epochs": steps * step / 60,
    }


def estimates() -> list[dict[str, Any]]:
    """BERT-base and BERT-large, the published batch of MNLI and one of 32 rows a device."""
    share = share_of_peak(json.loads(_MEASURED.read_text(encoding="utf-8")))
    return [
        {"model": shape, **estimate(SHAPES[shape], hardware, batch_size, share)}
        for shape in ("bert_base", "bert_large")
        for hardware in HARDWARE
        for batch_size in (64, 32 * hardware.devices)
    ]


def compare(found: Mapping[str, Any], expected: Mapping[str, Any]) -> tuple[float, float, bool]:
    """The largest difference of a loss and of a logit, and whether metrics are equal, over the kinds that both have."""
    kinds = found.keys() & expected.keys()
    losses, logits = (
        max(float(np.abs(np.subtract(found[kind][name], expected[kind][name])).max()) for kind in kinds)
        for name in ("losses", "logits")
    )
    equal = all(
        np.allclose(list(found[kind]["metrics"].values()), list(expected[kind]["metrics"].values())) for kind in kinds
    )
    return losses, logits, equal


def check(steps: int) -> list[dict[str, Any]]:
    """Compares every way with one device."""
    expected: dict[str, Any] = {}
    rows = []
    for name, (distribution, devices, *processes) in WAYS.items():
        found = run_job(Job(dataclasses.asdict(_SMALL), KINDS, distribution, devices, steps=steps), *processes)
        expected = expected or found
        difference, of_logits, equal = compare(found, expected)
        rows.append(
            {
                "way": name,
                "trainings": ", ".join(KINDS),
                "steps": steps,
                "largest difference of a loss": f"{difference:.1e}",
                "of a logit": f"{of_logits:.1e}",
                "metrics equal": equal,
                "same": bool(difference <= TOLERANCE and equal),
            }
        )
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def time_steps(shape: str, steps: int) -> list[dict[str, Any]]:
    """Median milliseconds of a step of fine-tuning, the same global batch."""
    rows: list[dict[str, Any]] = []
    config, sizes = dataclasses.asdict(SHAPES[shape]), {"batch_size": 32, "steps": steps, "last": 32, "max_length": 64}
    for name, (distribution, devices, *processes) in WAYS.items():
        found = run_job(Job(config, ("finetune",), distribution, devices, **sizes), *processes)
        rows.append({"way": name, "step ms": found["finetune"]["step_ms"]})
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def to_markdown(report: Mapping[str, Any]) -> str:
    """The report as text."""
    sections = [
        "# Many devices",
        f"{measured_on(report)} All devices share these cores.",
        "## The same as one device\n\nTwo encoders of width 32, batch 8, dropout 0, the last batch of an epoch 3 rows.",
        table(report["checks"]),
    ]
    if report["times"]:
        sections += [
            f"## A step, {report['shape']}, batch 32, up to 64 tokens\n\nThe devices share the cores of one "
            "machine, so that this is what sharing costs.",
            table(report["times"]),
        ]
    sections += [
        "## On paper: MNLI, rows of 128 tokens, bfloat16\n\n"
        f"An estimate: a step here reaches {report['share_of_peak']:.0%} of the largest product of matrices of its "
        "machine, and the others are taken to reach as much of their peak; nothing overlaps, and input costs nothing.",
        table(report["estimates"]),
        "\n".join(f"- {hardware.name}: {hardware.source}." for hardware in HARDWARE),
    ]
    return page(*sections)


def main(_: Sequence[str]) -> None:
    """Checks, times and estimates."""
    output = output_path("scale")
    report = {
        **surroundings("benchmarks.scale"),
        "shape": FLAGS.shape,
        "checks": check(FLAGS.steps),
        "times": time_steps(FLAGS.shape, FLAGS.timed_steps) if FLAGS.times else [],
        "share_of_peak": share_of_peak(json.loads(_MEASURED.read_text(encoding="utf-8"))),
        "estimates": estimates(),
        "hardware": [dataclasses.asdict(hardware) for hardware in HARDWARE],
    }
    publish(report, output, to_markdown(report))
    sys.exit(int(not all(row["same"] for row in report["checks"])))


def define_own_flags() -> None:
    """Flags of the command."""
    define_flags()
    flags.DEFINE_enum("shape", "minilm", sorted(SHAPES), "Size of the model that is timed.")
    flags.DEFINE_integer("steps", 50, "Steps of each training that is compared, a multiple of 5.", lower_bound=10)
    flags.DEFINE_integer("timed_steps", 20, "Steps that are timed, a multiple of 5.", lower_bound=10)
    flags.DEFINE_bool("times", True, "Time steps, too.")


if __name__ == "__main__":
    define_own_flags()
    app.run(main)
