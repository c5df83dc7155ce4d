"""Which files have slow tests, and the order of all: those that take longest first, by tests/seconds.txt.

`python tests/helpers/file_order.py FILE...` writes them anew from what `make test` and `make test-slow`, each with
`--junitxml=FILE` in PYTEST_ADDOPTS, have written.
"""

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "tests" / "seconds.txt"
_SHORTEST_S = 5
_SLOW = re.compile(r"mark\.slow|vllm_engine|def \w+\([^)]*\bdatabase\b|usefixtures\([^)]*\"database\"")
"""The marker, and what only files use whose tests get it from a fixture or a helper."""


def read_seconds() -> dict[str, int]:
    """File, as a path from the project's folder -> seconds; only files that take more than a few."""
    pairs = (line.split() for line in TABLE.read_text(encoding="utf-8").splitlines())
    return {file: int(seconds) for seconds, file in pairs}


def sort_by_seconds(items: list[pytest.Item]) -> None:
    """Sort tests by the seconds of their files, most first; the order inside a file and of all other files stays."""
    seconds = read_seconds()
    items.sort(key=lambda item: -seconds.get(item.nodeid.partition("::")[0], 0))


def may_be_slow(path: Path) -> bool:
    """Return whether a file of tests can have tests marked slow; True for folders and all other files."""
    is_test = path.name.startswith("test_") and path.suffix == ".py"
    return not is_test or _SLOW.search(path.read_text(encoding="utf-8")) is not None


def write_seconds(reports: Iterable[Path]) -> None:
    """Write the table from the reports of all tests."""
    seconds: dict[str, float] = {}
    for case in (case for report in reports for case in ElementTree.parse(report).iter("testcase")):
        file = "/".join(case.attrib["classname"].split(".")) + ".py"
        seconds[file] = seconds.get(file, 0.0) + float(case.attrib["time"])
    longest_first = sorted(seconds.items(), key=lambda pair: -pair[1])
    lines = [f"{round(taken):4} {file}\n" for file, taken in longest_first if taken >= _SHORTEST_S]
    TABLE.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    write_seconds(map(Path, sys.argv[1:]))
