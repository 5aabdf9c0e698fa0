"""Markdown of a benchmark's report."""

from typing import Any

import pandas as pd


def table(frame: pd.DataFrame) -> str:
    """A Markdown table; floats with two digits."""

    def cell(value: Any) -> str:
        return f"{value:.2f}" if isinstance(value, float) else str(value)

    rows = [[cell(value) for value in row] for row in frame.itertuples(index=False)]  # `values` would make ints floats
    lines = [list(frame.columns), ["---"] * len(frame.columns), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def measured_on(report: dict[str, Any]) -> str:
    """When, on which device, and with which packages: of a report that begins with `command.surroundings`."""
    threads = [f"{report['threads']} threads"] if "threads" in report else []  # where it is not what varies
    where = ", ".join([report["date"], *([report["device"]] if "device" in report else []), *threads])
    packages = ", ".join(f"{name} {version}" for name, version in report["packages"].items())
    return f"{where}; Python {report['python']}, {packages}."


def heading(report: dict[str, Any], title: str) -> list[str]:
    """Title, command and surroundings of a grid."""
    skipped = "".join(f" Left out: {name} ({reason})." for name, reason in report["skipped"].items())
    return [
        f"# {title}, {report['shape']}",
        f"`{report['command']}`\n\n{measured_on(report)}{skipped} {report['precision']}, full rows. The largest "
        f"product of matrices: {report['matrix_product_peak'] / 1e9:.0f} billion multiply-adds a second.",
    ]


def medians(results: pd.DataFrame) -> pd.DataFrame:
    """Milliseconds, a row a cell and a column an engine."""
    index = ["batch", "length"]
    wide = results.pivot(index=index, columns="engine", values="p50_ms")
    return wide[list(dict.fromkeys(results["engine"]))].reset_index()


def spread_and_memory(results: pd.DataFrame) -> pd.DataFrame:
    """How far calls lie apart, and what the process of each engine held, building included."""
    spread = results.assign(spread=results["p90_ms"] / results["p50_ms"]).groupby("engine", sort=False)
    memory = results.groupby("engine", sort=False)["peak_mib"].max()
    return pd.DataFrame(
        {"p90 / p50, median": spread["spread"].median(), "peak MiB": memory.round().astype(int)}
    ).reset_index()
