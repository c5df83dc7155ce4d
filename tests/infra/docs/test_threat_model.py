"""Each threat of docs/threat-model.md names a test that exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
NAMED = re.findall(r"\| (\S+\.py)::(test_\w+) \|", (ROOT / "docs/threat-model.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_threat_names_a_test_that_exists(file: str, name: str) -> None:
    assert re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)


def test_every_threat_names_one() -> None:
    page = (ROOT / "docs/threat-model.md").read_text(encoding="utf-8")
    table = page.split("## Threats")[1].split("## What remains")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == len(NAMED) > 20
