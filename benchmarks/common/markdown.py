"""Markdown of reports."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd


def page(*sections: str) -> str:
    """Joins paragraphs, headings and tables."""
    return "\n\n".join(sections) + "\n"


def table(rows: pd.DataFrame | Iterable[Mapping[str, Any]]) -> str:
    """A Markdown table; floats with two digits."""
    frame = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(rows)

    def cell(value: Any) -> str:
        return f"{value:.2f}" if isinstance(value, float) else str(value)

    lines = [list(frame.columns), ["---"] * len(frame.columns)]
    lines += [[cell(value) for value in row] for row in frame.itertuples(index=False)]  # `values` makes ints floats
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def kept(configuration: Iterable[float]) -> str:
    """Formats a retention configuration."""
    return ", ".join(f"{fraction:g}" for fraction in configuration)


def measured_on(report: Mapping[str, Any]) -> str:
    """Command, date, device, threads and packages of a report that begins with `command.surroundings`."""
    threads = [f"{report['threads']} threads"] if "threads" in report else []
    where = ", ".join([report["date"], *([report["device"]] if "device" in report else []), *threads])
    packages = ", ".join(f"{name} {version}" for name, version in report["packages"].items())
    return f"`{report['command']}`\n\n{where}; Python {report['python']}, {packages}."
