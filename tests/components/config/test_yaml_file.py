"""Files that are not a params.yaml at all: each error names the file and, for broken YAML, the line."""

from pathlib import Path

import pytest

from components.config import load_params
from components.errors import ConfigError

GOOD = "base: {path: base}\n"


@pytest.mark.parametrize(
    ("line", "got"),
    [
        ("train: {seed: 1}\ntrain: {max_steps: 3}", ":3: duplicate key 'train'"),
        ("train: [1,", ":3: expected the node content"),
    ],
)
def test_broken_yaml_names_the_line(refused, line, got):
    problem = refused(f"{GOOD}{line}\n")
    assert got in problem.got
    assert problem.fix == "correct this line"
    assert "\n" not in str(problem)


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ("", "an empty file"),
        ("- 1\n", "a list"),
        (b"\xff\xfe", "can't decode byte 0xff"),
    ],
)
def test_a_wrong_file_raises_an_error(refused, text, got):
    assert got in refused(text).got


def test_a_path_without_a_file_raises_an_error(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"no file .*params\.yaml.*top folder"):
        load_params(tmp_path / "params.yaml")
    with pytest.raises(ConfigError, match="Is a directory"):
        load_params(tmp_path)


def test_overriding_a_merged_yaml_key_is_no_duplicate(tmp_path: Path):
    path = tmp_path / "params.yaml"
    path.write_text(
        f"{GOOD}train: &common {{seed: 1, max_steps: 3}}\ntenants: {{acme: {{train: {{<<: *common, seed: 2}}}}}}\n"
    )
    assert load_params(path).for_tenant("acme").train.seed == 2
