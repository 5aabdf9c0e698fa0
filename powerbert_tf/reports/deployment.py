"""What `--stage=deploy` found: a table for the console, and a page with a plot and the lines that serve the choice."""

import textwrap
from collections.abc import Mapping
from typing import Any

import pandas as pd

from powerbert_tf.common.wording import counted
from powerbert_tf.data.metrics import format_metrics
from powerbert_tf.export.deployment.recommendation import Limits, breach, ordinal
from powerbert_tf.export.formats import DEFAULT_FORMAT
from powerbert_tf.reports.figures import draw_times
from powerbert_tf.reports.page import Code, Plot, Section, Table

_WIDTH = 80
_SHARES = ("p50_ms", "p90_ms", "p99_ms")


def limits_of(result: Mapping[str, Any]) -> Limits:
    """The limits of a result."""
    return Limits(**result["limits"])


def format_deployment(result: Mapping[str, Any], root: str) -> str:
    """The result for the console, at most 80 columns wide but for paths.

    Args:
        result: `result.json` of the stage `deploy`.
        root: Folder of the run.
    """
    rows = result["forms"]
    table = pd.DataFrame(
        {
            "form": name + (" *" if name == _chosen(result) else ""),
            "p50 ms": f"{row['p50_ms']:.2f}",
            "p90": f"{row['p90_ms']:.2f}",
            "p99": f"{row['p99_ms']:.2f}",
            "per s": f"{row['requests_per_second']:.0f}",
            "start s": f"{row['start_seconds']:.1f}",
            "MiB": f"{row['peak_mib']:.0f}",
            "lost": f"{row['loss']:+.4f}",
        }
        for name, row in _by_time(rows)
    )
    shown = table.to_string(index=False, justify="right") if len(table) else ""
    lines = [*_lines(result, " (*)"), *_left_out(result)]
    wrapped = ["\n".join(textwrap.wrap(line, _WIDTH, break_on_hyphens=False, break_long_words=False)) for line in lines]
    chosen = result["chosen"]
    more = [f"Serve it:\n{textwrap.indent(serving_code(result, root), '  ')}"] if chosen else []
    return "\n\n".join(filter(None, [_title(result), shown, "\n".join(wrapped), *more]))


def _title(result: Mapping[str, Any]) -> str:
    calls = next((row["calls"] for row in result["forms"].values()), 0)
    return "\n".join(
        textwrap.wrap(
            f"{result['task']}: text to answer, {calls} calls of {result['batch_size']}, {result['rounds']} turns, "
            f"{counted(result['cores'], 'core')}; lost: dev {result['metric']} against Keras' "
            f"{result['keras'][result['metric']]:.4f}",
            _WIDTH,
        )
    )


def _by_time(rows: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    return sorted(rows.items(), key=lambda item: item[1]["at_ms"])


def _chosen(result: Mapping[str, Any]) -> str:
    return result["chosen"]["form"] if result["chosen"] else ""


def _lines(result: Mapping[str, Any], mark: str = "") -> list[str]:
    """The recommendation in sentences; `mark` is what its row in the table has."""
    limits, chosen = limits_of(result), result["chosen"]
    if not chosen:
        return [f"Recommended: none; {result['reason']}."]
    lines = [f"Recommended{mark}: {chosen['form']}; {result['reason']}."]
    if result["as_fast"]:
        lines.append(f"As fast within the spread of the turns: {', '.join(result['as_fast'])}.")
    out = {name: problem for name, row in result["forms"].items() if (problem := breach(row, limits))}
    return [*lines, *(f"{name} is out: {problem}." for name, problem in out.items())]


def _left_out(result: Mapping[str, Any]) -> list[str]:
    """Forms that were not measured, those with the same reason in one line."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in {**result["unavailable"], **result["failed"]}.items():
        by_reason.setdefault(reason, []).append(name)
    return [f"{', '.join(names)}: not measured; {reason}." for reason, names in by_reason.items()]


def serving_code(result: Mapping[str, Any], root: str) -> str:
    """Lines of Python that serve the form that was chosen."""
    chosen = result["chosen"]
    texts = ", ".join(f'["{text}"]' for text in ("A first text.", "A second one.")[: chosen["num_texts"]])
    if chosen["num_texts"] > 2:
        texts = "*columns"  # article, question and options
    answers = "probabilities" if chosen["classes"] else "scores"
    lines = [
        "from powerbert_tf.export.deployment.answering import load_deployed",
        "",
        f"# Needs {' and '.join(chosen['needs'])}.",
        f'answer = load_deployed("{root}/{chosen["serve"]}")',
        f"{answers} = answer({texts})",
    ]
    if chosen["classes"] and not chosen["thresholds"]:
        lines.append(f"labels = [answer.classes[number] for number in {answers}.argmax(axis=-1)]")
    return "\n".join(lines)


def serving_command(result: Mapping[str, Any], root: str) -> str:
    """The command that serves the chosen form with TensorFlow Serving; empty if it is no SavedModel."""
    chosen = result["chosen"]
    if not chosen or chosen["format"] != DEFAULT_FORMAT:
        return ""
    folder, place = chosen["model"].rpartition("/")[0], f"/models/{result['task']}"
    return (
        f'docker run --rm -p 8501:8501 -v "$(realpath {root}/{folder}):{place}:ro" tensorflow/serving:latest \\\n'
        f"  --model_config_file={place}/model.config"
    )


def export_command(result: Mapping[str, Any], root: str) -> str:
    """Flags that export the chosen form."""
    flags = [f"--{name}{'' if value is True else f'={value}'}" for name, value in result["chosen"]["export"].items()]
    return " ".join([f"powerbert --task={root} --stage=export", *flags, "--overwrite"])


def deployment_sections(result: Mapping[str, Any], root: str) -> list[Section]:
    """The page: recommendation, times, what was checked, shapes, and how to serve it.

    Arguments: see `format_deployment`.
    """
    summary = [*_lines(result), *_left_out(result), _conditions(result)]
    sections = [Section("summary", "Recommendation", summary)]
    if result["forms"]:
        sections += [
            Section("times", "Times", [*_plots(result), _times_table(result)]),
            Section("answers", "Answers", [_answers_table(result)]),
            Section("shapes", "Shapes and padding", [_shapes_table(result)]),
        ]
    if result["chosen"]:
        code = [Code(serving_code(result, root), "python", "In Python, without Keras")]
        if command := serving_command(result, root):
            code.append(Code(command, "bash", "With TensorFlow Serving"))
        code.append(
            Code(
                export_command(result, root),
                "bash",
                "The same form as an export of the run; these flags are the defaults of its next export",
            )
        )
        sections.append(Section("serving", "Serve it", code))
    return sections


def _conditions(result: Mapping[str, Any]) -> str:
    requests, calls = result["requests"], next((row["calls"] for row in result["forms"].values()), 0)
    source = f"requests of {requests['source']}" if requests["source"] != "dev" else "rows of the dev split"
    return (
        f"Measured on {result['device']}, {result['date']}: from text to answer, tokenizer included, {calls} calls of "
        f"{result['batch_size']} in the order of the {requests['count']:,} {source}, in {result['rounds']} turns of "
        f"each form, each in a process of its own. Times are medians over the turns of each turn's percentile; forms "
        f"are compared at the {ordinal(result['limits']['percentile'])}. Start is from the start of the process to "
        "its first answer. Nothing else should run meanwhile."
    )


def _plots(result: Mapping[str, Any]) -> list[Plot]:
    ordered = _by_time(result["forms"])
    names = [name for name, _ in ordered]
    chosen = names.index(_chosen(result)) if _chosen(result) in names else None
    times = [[row[share] for share in _SHARES] for _, row in ordered]
    figure = draw_times([row["title"] for _, row in ordered], times, chosen, result["limits"]["latency_ms"])
    return [Plot("times", figure, "Milliseconds from the texts of a call to its answers")]


def _times_table(result: Mapping[str, Any]) -> Table:
    header = ("form", "p50 ms", "p90 ms", "p99 ms", "turns, ms", "requests a second", "start, s", "memory, MiB")
    at = ordinal(result["limits"]["percentile"])
    rows = [
        (
            name,
            *(f"{row[share]:.2f}" for share in _SHARES),
            f"{row['turns_ms'][0]:.2f} to {row['turns_ms'][1]:.2f}",
            f"{row['requests_per_second']:.1f}",
            f"{row['start_seconds']:.1f}",
            f"{row['peak_mib']:.0f}",
        )
        for name, row in _by_time(result["forms"])
    ]
    return Table(header, rows, f"Times; turns: the fastest and the slowest, at the {at} percentile")


def _answers_table(result: Mapping[str, Any]) -> Table:
    main = result["metric"]
    examples, compared = result["examples"], result["compared"]
    rows = [
        (
            name,
            f"{row['metrics'][main]:.4f}",
            f"{row['loss']:+.4f}",
            f"{row['largest_difference']:.1g}",
            "" if row["changed"] is None else str(row["changed"]),
            row["tokenizer"],
        )
        for name, row in result["forms"].items()
    ]
    return Table(
        ("form", f"dev {main}", "lost", "largest difference", "other answers", "tokenizer"),
        [("Keras", f"{result['keras'][main]:.4f}", "", "", "", ""), *rows],
        f"Metric on {examples} dev rows; answers against Keras' on {compared} rows and requests "
        f"({format_metrics(result['keras'])})",
    )


def _shapes_table(result: Mapping[str, Any]) -> Table:
    rows = [(name, row["shapes"], f"{row['padding']:.0%}") for name, row in result["forms"].items()]
    return Table(
        ("form", "what it runs", "share of the computed tokens that is padding"), rows, "Shapes", numbers=False
    )
