"""Reads the description for package registries from README.md; all else stands in `setup.cfg`."""

import re
from pathlib import Path

from setuptools import setup

_LINK = r"\[([^]]*)\]\((?!https?:)[^)]*\)"  # to a file of the repository, which a registry does not show


def description(readme: str) -> str:
    """README without links to files; a figure is replaced by its description."""
    return re.sub(_LINK, r"\1", re.sub(f"!{_LINK}", r"*\1*", readme))


setup(
    long_description=description(Path(__file__).with_name("README.md").read_text(encoding="utf-8")),
    long_description_content_type="text/markdown",
)
