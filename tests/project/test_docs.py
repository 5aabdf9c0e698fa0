"""What the documentation tells a reader to do works."""

import re

import numpy as np
import yaml
from conftest import REPOSITORY

DOCS = REPOSITORY / "docs"


def test_a_score_of_ones_own():
    text = (DOCS / "extending.md").read_text(encoding="utf-8")
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL) if "class " in block)
    names = {}
    exec(code, names)
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((2, 3, 7, 7))
    attention_probs = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
    mask = np.array([[1] * 7, [1] * 5 + [0] * 2], "int32")
    stays = names["ExtractByCls"](4, 7)(attention_probs.astype("float32"), mask, mask, None)
    for row, length in enumerate(mask.sum(axis=1)):
        to_cls = attention_probs[row, :, :length, 0].sum(axis=0)
        others = 1 + np.argsort(-to_cls[1:])[:3]
        np.testing.assert_array_equal(np.asarray(stays["rows"])[row], np.sort([0, *others]))


def test_pages_and_files_that_are_named_are_there():
    pages = yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    assert {name for page in pages for name in page.values()} == {path.name for path in DOCS.glob("*.md")}
    for path in DOCS.glob("*.md"):
        text = path.read_text(encoding="utf-8")
        for name in re.findall(r"`((?:docs|tests|benchmarks)/[\w./]+\.\w+)`", text):
            assert (REPOSITORY / name).exists(), f"{path.name}: {name}"
