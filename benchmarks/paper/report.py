"""The paper's experiments as Markdown and as plots."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from benchmarks.common.markdown import kept, measured_on, page, table
from benchmarks.paper.experiments import PUBLISHED
from benchmarks.paper.published_results import CLAIMS, HARDWARE, ROWS

_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def to_markdown(report: dict[str, Any], name: str) -> str:
    """The report as text, with the figure `<name>.png` where there is one."""
    title, describe, draw = _EXPERIMENTS[report["experiment"]]
    checkpoints = ", ".join(dict.fromkeys(result["checkpoint"] for result in report["results"]))
    parts = [f"# {title}", f"{measured_on(report)} {checkpoints}.", f"The paper: {CLAIMS[report['experiment']]}"]
    if draw is not None:
        parts.append(f"![{title}]({name}.png)")
    return page(*parts, *describe(report))


def plot(report: dict[str, Any]) -> Figure | None:
    """One plot per task, side by side, of the mean of its runs; None where an experiment has none."""
    draw = _EXPERIMENTS[report["experiment"]][2]
    if draw is None:
        return None
    tasks = _by_task(report)
    figure = Figure(figsize=(5.2 * len(tasks), 4.0), layout="constrained")
    for axes, (task, results) in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks.items(), strict=True):
        draw(axes, results)
        axes.set_title(f"{task}, {_runs(results)}")
        axes.grid(color="0.92")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _by_task(report: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    tasks: dict[str, list[dict[str, Any]]] = {}
    for result in report["results"]:
        tasks.setdefault(result["task"], []).append(result)
    return tasks


def _runs(results: Sequence[Any]) -> str:
    return "1 run" if len(results) == 1 else f"mean of {len(results)} runs"


def _mean(results: Sequence[dict[str, Any]], key: str) -> np.ndarray:
    return np.mean([result[key] for result in results], axis=0)


def _cell(values: Sequence[float], digits: int = 4) -> str:
    """Mean, and the sample standard deviation where there are several."""
    spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{spread}"


def _describe_figure2(report: dict[str, Any]) -> list[str]:
    rows, verdicts = [], []
    for task, results in _by_task(report).items():
        cosine = _mean(results, "cosine")
        rows.append({"task": f"{task}, {_runs(results)}", **{_layer(j): value for j, value in enumerate(cosine)}})
        rises = int(np.sum(np.diff(cosine) > 0))
        agrees = cosine[-1] > cosine[0] and rises > (len(cosine) - 1) / 2
        verdicts.append(
            f"{task}: {'agrees' if agrees else 'disagrees'}; from {cosine[0]:.2f} to {cosine[-1]:.2f}, rising in "
            f"{rises} of {len(cosine) - 1} steps."
        )
    note = "Mean cosine of two word-vectors of an example, all pairs, after each encoder."
    return [note, table(rows), *verdicts]


def _layer(index: int) -> str:
    return f"encoder {index}" if index else "embeddings"


def _draw_figure2(axes: Axes, results: Sequence[dict[str, Any]]) -> None:
    cosine = _mean(results, "cosine")
    axes.plot(range(len(cosine)), cosine, color=_COLORS[0], marker="o")
    axes.set_xlabel("encoder (0: embeddings)")
    axes.set_ylabel("mean cosine of two word-vectors")
    axes.set_ylim(0, 1)
    axes.set_xticks(range(len(cosine)))


def _describe_figure5(report: dict[str, Any]) -> list[str]:
    parts = [
        "Mutual information, in nats, of the fine-tuned model's answer and its answer where the k-th most significant "
        "word-vector is eliminated at one encoder, and only there. It cannot exceed the entropy of the answers. "
        "Examples that have no k-th word-vector do not count. [CLS], which never leaves, has rank 0."
    ]
    for task, results in _by_task(report).items():
        ranks, information = results[0]["ranks"], _mean(results, "information")
        rows = [
            {"": f"encoder {j}", **{f"k = {rank}": value for rank, value in zip(ranks, of_encoder, strict=True)}}
            for j, of_encoder in enumerate(information, start=1)
        ]
        rows.append(
            {"": "entropy", **dict(zip((f"k = {rank}" for rank in ranks), _mean(results, "entropy"), strict=True))}
        )
        flipped = _mean(results, "flipped")
        lost = 1 - _share_kept(results)
        by_rank, by_encoder = lost.mean(axis=0), lost.mean(axis=1)
        parts += [
            f"## {task}, {_runs(results)}",
            _four_digits(pd.DataFrame(rows)),
            f"{task}: {_trend(by_rank)} with the rank: {by_rank[0]:.1%} of the information is lost with the most "
            f"significant word-vector, {by_rank[-1]:.1%} with number {ranks[-1]} (mean over encoders). "
            f"{_trend(by_encoder)} with the encoder: {by_encoder[0]:.1%} is lost at the first, {by_encoder[-1]:.1%} at "
            "the last but one. At most "
            f"{flipped.max():.1%} of the answers change.",
        ]
    return parts


def _share_kept(results: Sequence[dict[str, Any]]) -> np.ndarray:
    """Information over entropy by encoder and rank; 1 where there is none to lose."""
    information, entropy = _mean(results, "information"), _mean(results, "entropy")
    return np.divide(information, entropy, out=np.ones_like(information), where=entropy > 0)


def _trend(lost: np.ndarray) -> str:
    """Whether the loss falls along the axis, as the paper says; by Spearman's correlation with the position."""
    if np.ptp(lost) == 0:
        return "Neither agrees nor disagrees (the loss is the same everywhere)"
    correlation = stats.spearmanr(np.arange(len(lost)), lost).statistic
    return f"Agrees (rank correlation {correlation:+.2f})" if correlation < 0 else f"Disagrees ({correlation:+.2f})"


def _draw_figure5(axes: Axes, results: Sequence[dict[str, Any]]) -> None:
    share = _share_kept(results)
    for j, of_encoder in enumerate(share):
        axes.plot(
            results[0]["ranks"],
            of_encoder,
            color=_COLORS[j % len(_COLORS)],
            marker=_MARKERS[j % len(_MARKERS)],
            label=f"encoder {j + 1}",
        )
    axes.set_xscale("log")
    axes.set_xticks(results[0]["ranks"], [str(rank) for rank in results[0]["ranks"]])
    axes.minorticks_off()
    axes.set_xlabel("k, rank of the word-vector that is eliminated")
    axes.set_ylabel("share of the information that is kept")
    axes.legend(fontsize=9)


def _four_digits(frame: pd.DataFrame) -> str:
    numbers = frame.select_dtypes("number").columns
    return table(frame.assign(**{name: frame[name].map("{:.4f}".format) for name in numbers}))


def _describe_speed(report: dict[str, Any]) -> list[str]:
    rows = []
    groups: dict[tuple[str, bool], list[dict[str, Any]]] = {}
    for result in report["results"]:
        groups.setdefault((result["task"], result["retrained"]), []).append(result)
    for (task, retrained), results in groups.items():
        published = ROWS.get(task)
        padded = [result["padded"] for result in results]
        rows.append(
            {
                "task": f"{task}, {_runs(results)}",
                "metric": results[0]["metric"],
                "paper, BERT": "" if published is None else f"{published.dense:.1f}",
                "PoWER-BERT": "" if published is None else f"{published.reduced:.1f}",
                "faster": "" if published is None else f"{published.speedup:.1f}x",
                "ours, fine-tuned": _cell([100 * result["dense"] for result in results], 1),
                "reduced": _cell([100 * result["reduced"] for result in results], 1),
                "faster, padded to N": "" if None in padded else f"{_cell(padded, 2)}x",
                "faster, grouped by length": f"{_cell([result['grouped'] for result in results], 2)}x",
                "re-trained": "yes" if retrained else "no",
            }
        )
    note = (
        f"The paper measures {HARDWARE}. Both of its models are padded to N. This repository measures another "
        "checkpoint on the dev split and a CPU. Its speed-up padded to N is comparable with the paper's. Its speed-up "
        "grouped by length compares both models on the same batches, so removing padding does not count."
    )
    return [note, table(rows)]


def _describe_table4(report: dict[str, Any]) -> list[str]:
    parts = []
    for task, results in _by_task(report).items():
        first = results[0]
        rows = [
            {
                "": row["strategy"],
                f"dev {first['metric']}": _cell([one["rows"][i]["all"] for one in results]),
                f"above {first['median']:g} tokens": _cell([one["rows"][i]["longer"] for one in results]),
            }
            for i, row in enumerate(first["rows"])
        ]
        means = {
            row["strategy"]: np.mean([one["rows"][i]["all"] for one in results]) for i, row in enumerate(first["rows"])
        }
        best = max(PUBLISHED, key=means.__getitem__)
        parts += [
            f"## {task}, {_runs(results)}",
            f"Each keeps {kept(first['configuration'])}; nothing is re-trained.",
            table(rows),
            f"{task}: {'agrees' if best == 'Attn-WS' else 'disagrees'}; {best} is the best of the paper's three.",
        ]
    return parts


def _describe_ablation(report: dict[str, Any]) -> list[str]:
    epochs = report["epochs"]
    trained = (
        f"each trained for {epochs} epochs towards the fine-tuned model's answers" if epochs else "nothing re-trained"
    )
    parts = [
        "The same numbers of word-vectors (a geometric schedule) chosen in several ways, and whole encoders left out, "
        f"{trained}. Times fewer multiply-adds, without padding."
    ]
    for task, results in _by_task(report).items():
        metric = f"dev {results[0]['metric']}"
        rows = [{"": "fine-tuned", "times fewer": "1.00", metric: _cell([result["dense"] for result in results])}]
        rows += [
            {
                "": row["strategy"] + (f", {row['keeps']} are left" if isinstance(row["keeps"], int) else ""),
                "times fewer": f"{np.mean([result['rows'][i]['saved'] for result in results]):.2f}",
                metric: _cell([result["rows"][i]["metric"] for result in results]),
            }
            for i, row in enumerate(results[0]["rows"])
        ]
        parts += [f"## {task}, {_runs(results)}", table(rows), _judge_ablation(task, results)]
    return parts


def _judge_ablation(task: str, results: Sequence[dict[str, Any]]) -> str:
    """Attn-WS against each other way, at its own targets; fewer encoders on the line between theirs."""
    lines = _lines(results)
    own_x, own_y = lines.pop("Attn-WS")
    verdicts = []
    for name, (x, y) in lines.items():
        order = np.argsort(x)
        others = np.interp(own_x, np.array(x)[order], np.array(y)[order])
        wins = int(np.sum(np.array(own_y) > others))
        verdicts.append(f"better than {name} at {wins} of {len(own_x)} budgets")
    return f"{task}: Attn-WS is {', '.join(verdicts)}."


def _lines(results: Sequence[dict[str, Any]]) -> dict[str, tuple[list[float], list[float]]]:
    """Mean times fewer multiply-adds and metric by strategy; the fine-tuned model begins that of fewer encoders."""
    lines: dict[str, tuple[list[float], list[float]]] = {}
    for i, row in enumerate(results[0]["rows"]):
        x, y = lines.setdefault(row["strategy"], ([], []))
        if not x and isinstance(row["keeps"], int):
            x.append(1.0)
            y.append(float(np.mean([result["dense"] for result in results])))
        x.append(float(np.mean([result["rows"][i]["saved"] for result in results])))
        y.append(float(np.mean([result["rows"][i]["metric"] for result in results])))
    return lines


def _draw_ablation(axes: Axes, results: Sequence[dict[str, Any]]) -> None:
    lines = _lines(results)
    axes.set_xlim(0.9, 2 * max(lines["Attn-WS"][0]))  # a single encoder is far beyond what is compared
    for index, (name, (x, y)) in enumerate(lines.items()):
        axes.plot(x, y, color=_COLORS[index], marker=_MARKERS[index], label=name)
    axes.axhline(np.mean([result["dense"] for result in results]), color="0.4", linewidth=1, label="fine-tuned")
    axes.set_xlabel("times fewer multiply-adds, without padding")
    axes.set_ylabel(f"dev {results[0]['metric']}")
    axes.legend(fontsize=9)


_EXPERIMENTS: dict[str, tuple[str, Callable[[dict[str, Any]], list[str]], Callable | None]] = {
    "figure2": ("Figure 2: how alike word-vectors become", _describe_figure2, _draw_figure2),
    "figure5": ("Figure 5: what one word-vector says", _describe_figure5, _draw_figure5),
    "table2": ("Table 2: metric and time", _describe_speed, None),
    "table3": ("Table 3: ALBERT", _describe_speed, None),
    "table4": ("Table 4: which word-vectors", _describe_table4, None),
    "ablation": ("Word-vectors against encoders", _describe_ablation, _draw_ablation),
}
