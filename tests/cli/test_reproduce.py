"""`prefixfleet reproduce` on a tiny base."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.main import app
from components.reproduction import experiment_run


@pytest.fixture
def e2e(tmp_path: Path) -> Path:
    """E2E's CSV files with a few examples."""
    (tmp_path / "e2e").mkdir()
    for name, numbers in (("trainset", range(24)), ("devset", range(24, 30)), ("testset_w_refs", range(30, 38))):
        lines = [f'"name[Inn {number}], near[park]",Inn {number} is near the park.' for number in numbers]
        (tmp_path / "e2e" / f"{name}.csv").write_text("\n".join(["mr,ref", *lines]) + "\n")
    return tmp_path / "e2e"


@pytest.mark.slow
def test_table1_is_measured(tiny_base: Path, e2e: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Java on PATH: METEOR's program takes seconds for every cell."""
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    out = tmp_path / "out"
    options = ["--preset", "small", "--only", "prefix,in-context", "--seeds", "0", "--inputs", "2", "--budget", "4"]
    command = ["reproduce", "table1", "--base", str(tiny_base), "--data", str(e2e), *options, "--out", str(out)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert done.stdout.split() == [str(out / f"table1.{kind}") for kind in ("md", "csv", "json", "png")]
    lines = json.loads((out / "table1.json").read_text())["lines"]
    assert [(line["row"], line["steps"], line["trained"]) for line in lines] == [
        ("prefix", 4, 20 * 2 * 2 * 16),
        ("in-context", 0, 0),
    ]
    assert {score["metric"] for score in lines[0]["scores"]} == {"bleu", "nist"}
    assert "METEOR is missing: no Java runtime" in (out / "table1.md").read_text()
    for kind in ("md", "csv", "json"):
        assert str(tmp_path) not in (out / f"table1.{kind}").read_text()


def test_ctrl_c_exits_with_130_and_says_how_to_continue(
    tiny_base: Path, e2e: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any, **__: Any) -> list[Path]:
        raise KeyboardInterrupt

    monkeypatch.setattr(experiment_run, "reproduce", interrupt)
    command = ["reproduce", "table1", "--base", str(tiny_base), "--data", str(e2e), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 130
    assert str(tmp_path / "out") in done.stderr
    assert "same command" in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["table3"], "a data set of dialogsum or xsum"),
        (["table2"], "e2e data at"),
        (["table1", "--only", "prefixes"], "did you mean 'prefix'?"),
        (["table1", "--base", "no/such/base/there"], "no such folder"),
        (["table9"], "table1"),
    ],
)
def test_a_mistake_is_an_error_with_three_parts(options: list[str], message: str, tiny_base: Path, e2e: Path) -> None:
    base = [] if "--base" in options else ["--base", str(tiny_base)]
    done = CliRunner().invoke(app, ["reproduce", *options, *base, "--data", str(e2e)])
    assert done.exit_code == 2
    assert message in done.output
    assert "fix:" in done.output
