"""The report stage: a page and Markdown that tell what a run came to, and why."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from powerbert_tf.files import replacing, write_json
from powerbert_tf.report_blocks import Plot
from powerbert_tf.report_data import gather
from powerbert_tf.report_page import report_markdown, report_page
from powerbert_tf.report_sections import headline, report_sections
from powerbert_tf.run import Run
from powerbert_tf.svg_text import svg_text
from powerbert_tf.tensorboard_logs import write_tensorboard

_PAGE, _MARKDOWN, _CONTENT, _FIGURES, _LOGS = "index.html", "report.md", "report.json", "figures", "tensorboard"


def report_run(run: Run, folder: Path) -> dict[str, Any]:
    """Writes `index.html`, `report.md` with `figures/*.svg`, `report.json` and, if asked for, `tensorboard/`.

    Returns:
        For `result.json`.
    """
    content = gather(run)
    _write(folder, content)
    if run.settings.tensorboard:
        write_tensorboard(folder / _LOGS, content["curves"])
    print(f"  {headline(content)}", flush=True)
    return {"file": _PAGE, "headline": headline(content)}


def tell_spread(folders: Sequence[Path], summary: Mapping[str, Any]) -> None:
    """Writes the finished reports of several seeds anew, with mean and spread in each.

    Args:
        folders: Of the reports.
        summary: From `seeds.summarize_seeds`.
    """
    for folder in folders:
        content = json.loads((folder / _CONTENT).read_text(encoding="utf-8"))
        _write(folder, {**content, "seeds": dict(summary)})


def _write(folder: Path, content: Mapping[str, Any]) -> None:
    sections = report_sections(content)
    title = f"{content['task']}: what the reduced model came to"
    write_json(folder / _CONTENT, content)
    figures = folder / _FIGURES
    figures.mkdir(exist_ok=True)
    texts = {
        folder / _PAGE: report_page(title, sections),
        folder / _MARKDOWN: report_markdown(title, sections, _FIGURES),
    }
    for section in sections:
        for block in section.blocks:
            if isinstance(block, Plot):
                texts[figures / f"{block.name}.svg"] = svg_text(block.figure, block.name)
    for path, text in texts.items():
        with replacing(path) as partial:
            partial.write_text(text, encoding="utf-8")
