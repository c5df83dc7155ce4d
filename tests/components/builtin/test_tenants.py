import hashlib
import json
import os
import subprocess
import sys

import pytest

from components.builtin.tenants import BUILTIN_TENANTS, SPLIT_SIZES, generate_examples, write_builtin_drops
from components.config import DataConfig
from components.data.schema import read_split

DROPS_SHA256 = "4db05da78530fed5752beb355a09baf453c55860013578036dc96c0a9133b876"
"""Of all files of all tenants, in the order of their paths."""


def test_drops_pass_the_schema_and_are_always_the_same(tmp_path):
    names = write_builtin_drops(tmp_path / "a")
    code = (
        "import sys, pathlib; from components.builtin.tenants import write_builtin_drops as d; "
        "d(pathlib.Path(sys.argv[1]))"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "b")], check=True, env={**os.environ, "PYTHONHASHSEED": "7"}
    )
    for name in names:
        for split, count in SPLIT_SIZES.items():
            first = tmp_path / "a" / name / f"{split}.jsonl"
            assert len(read_split(first, DataConfig())) == count
            assert first.read_bytes() == (tmp_path / "b" / name / f"{split}.jsonl").read_bytes()
    contents = [path.read_bytes() for path in sorted((tmp_path / "a").rglob("*.jsonl"))]
    assert hashlib.sha256(b"".join(contents)).hexdigest() == DROPS_SHA256


@pytest.mark.parametrize("builtin", BUILTIN_TENANTS, ids=lambda builtin: builtin.tenant)
def test_unseen_examples_contain_no_value_of_training(builtin):
    splits = generate_examples(builtin)
    trained = {value for line in splits["train"] for value in _values(line)}
    unseen = [line for line in splits["test"] if line["slice"] == "unseen"]
    seen = [line for line in splits["test"] if line["slice"] == "seen"]
    assert len(unseen) == len(seen) == 50
    assert not trained & {value for line in unseen for value in _values(line)}


@pytest.mark.parametrize("builtin", BUILTIN_TENANTS, ids=lambda builtin: builtin.tenant)
def test_every_reference_contains_every_value(builtin):
    for line in generate_examples(builtin)["test"]:
        for reference in line["references"]:
            assert all(value in reference for value in _values(line)), json.dumps(line)


def _values(line):
    return {pair.split(" : ", 1)[1] for pair in line["source"].split(" | ")}
