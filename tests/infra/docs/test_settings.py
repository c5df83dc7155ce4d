"""The examples of settings in the documentation are settings that this release takes."""

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.config import Params, load_params

ROOT = Path(__file__).resolve().parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^( *)```yaml\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
NEEDED = {"base": {"path": "base"}, "prices": {"currency": "EUR", "thousand_requests": 1}}
"""Sections that others need, where an example leaves them out."""


def list_examples() -> Iterator[Any]:
    """Yield each example of sections of params.yaml, named by its page and line."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for found in BLOCK.finditer(text):
            values = yaml.safe_load(textwrap.dedent(found[2]))
            if isinstance(values, dict) and values.keys() <= Params.model_fields.keys():
                line = text.count("\n", 0, found.start()) + 1
                yield pytest.param(values, id=f"{page.name}:{line}")


EXAMPLES = list(list_examples())


def test_there_are_examples():
    assert len(EXAMPLES) > 15


@pytest.mark.parametrize("values", EXAMPLES)
def test_an_example_is_valid(values, tmp_path):
    file = tmp_path / "params.yaml"
    file.write_text(yaml.safe_dump({**NEEDED, **values}), encoding="utf-8")
    load_params(file)
