"""The table of attributes in the documentation is that of the code."""

import re
from pathlib import Path

from components.otel.attributes import ATTRIBUTES

PAGE = Path(__file__).resolve().parents[3] / "docs" / "monitoring.md"


def test_the_page_lists_all_attributes():
    listed = re.findall(r"^\| `([a-z_.]+)` \| (.+) \|$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert dict(listed).items() >= dict(ATTRIBUTES.values()).items()
