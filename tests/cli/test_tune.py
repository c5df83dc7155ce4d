"""`prefixfleet tune`: its table, its last lines and the file that it writes."""

import pytest
import yaml
from typer.testing import CliRunner

from cli.main import app

OPTIONS = ("--trials", "3", "--metric", "validation-loss", "--lengths", "1,3", "--learning-rates", "0.1..0.5")


@pytest.fixture
def tune(make_root):
    root = make_root(("alder",), train={"learning_rate": 1e-9})

    def call(*options):
        return root, CliRunner().invoke(app, ["-C", str(root), "tune", "alder", *OPTIONS, *options])

    return call


def rows_of(text):
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if "│" in line]


def test_the_table_has_the_best_trial_first_and_the_next_command_is_printed(tune):
    root, result = tune()
    assert result.exit_code == 0, result.output
    assert "alder: trial 1 (the current values): length 2, start own words, learning rate 1e-09" in result.stderr
    rows = rows_of(result.stdout)
    assert sorted(row[0] for row in rows) == ["1", "2", "3"]
    losses = [float(row[1]) for row in rows if row[1] != "-"]
    assert losses == sorted(losses)
    assert rows[0][-1] == "winner"
    assert next(row for row in rows if row[0] == "1")[-1] == "current"
    written = yaml.safe_load((root / "overrides/alder.yaml").read_text())["train"]
    assert [str(written["prefix_length"]), f"{written['learning_rate']:g}"] == [rows[0][2], rows[0][4]]
    assert "written to overrides/alder.yaml, which wins over params.yaml: train: {" in result.stdout
    assert result.stdout.rstrip().endswith("next: prefixfleet retrain --tenant alder")


def test_a_dry_run_prints_what_would_be_written(tune):
    root, result = tune("--dry-run")
    assert result.exit_code == 0, result.output
    assert "dry run, not written to overrides/alder.yaml, which wins over params.yaml: train: {" in result.stdout
    assert "next:" not in result.stdout
    assert not (root / "overrides").exists()


def test_values_that_no_trial_beats_are_printed_with_their_score(tune):
    tune()
    _, result = tune()
    assert result.exit_code == 0, result.output
    assert "3 finished trials of this study found" in result.stderr
    assert "nothing written: no trial beats the current values' validation loss" in result.stdout


def test_help_names_the_options(tune):
    _, result = tune("--help")
    assert result.exit_code == 0
    assert "--dry-run" in result.stdout
