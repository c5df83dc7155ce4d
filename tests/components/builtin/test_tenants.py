import json
import os
import subprocess
import sys

import pytest

from components.builtin.tenants import BUILTIN_TENANTS, SPLIT_SIZES, generate_examples, write_builtin_drops
from components.config import DataConfig
from components.data.schema import read_split


def test_drops_pass_the_schema_and_are_the_same_in_every_process(tmp_path):
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


@pytest.mark.parametrize("house", BUILTIN_TENANTS, ids=lambda house: house.tenant)
def test_unseen_examples_hold_no_value_of_training(house):
    splits = generate_examples(house)
    trained = {value for line in splits["train"] for value in _values(line)}
    unseen = [line for line in splits["test"] if line["slice"] == "unseen"]
    seen = [line for line in splits["test"] if line["slice"] == "seen"]
    assert len(unseen) == len(seen) == 50
    assert not trained & {value for line in unseen for value in _values(line)}


@pytest.mark.parametrize("house", BUILTIN_TENANTS, ids=lambda house: house.tenant)
def test_every_reference_holds_every_value(house):
    for line in generate_examples(house)["test"]:
        for reference in line["references"]:
            assert all(value in reference for value in _values(line)), json.dumps(line)


def _values(line):
    return {pair.split(" : ", 1)[1] for pair in line["source"].split(" | ")}
