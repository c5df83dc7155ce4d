import pytest
import yaml
from typer.testing import CliRunner

from cli.main import app

ASKED = ("--trials", "3", "--metric", "validation-loss", "--lengths", "1,3", "--learning-rates", "0.1..0.5")


@pytest.fixture
def tune(make_root):
    root = make_root(("alder",), train={"learning_rate": 1e-9})

    def call(*options):
        return root, CliRunner().invoke(app, ["-C", str(root), "tune", "alder", *ASKED, *options])

    return call


def rows_of(text):
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if "│" in line]


def test_the_table_has_the_best_first_and_what_comes_next_is_told(tune):
    root, told = tune()
    assert told.exit_code == 0, told.output
    assert "alder: trial 1 (the present values): length 2, start own words, learning rate 1e-09" in told.stderr
    rows = rows_of(told.stdout)
    assert sorted(row[0] for row in rows) == ["1", "2", "3"]
    losses = [float(row[1]) for row in rows if row[1] != "-"]
    assert losses == sorted(losses)
    assert rows[0][-1] == "winner"
    assert next(row for row in rows if row[0] == "1")[-1] == "present"
    written = yaml.safe_load((root / "params.yaml").read_text())["tenants"]["alder"]["train"]
    assert [str(written["prefix_length"]), f"{written['learning_rate']:g}"] == [rows[0][2], rows[0][4]]
    assert "written to params.yaml: tenants.alder.train: {" in told.stdout
    assert told.stdout.rstrip().endswith("next: prefixfleet retrain --tenant alder")


def test_a_dry_run_says_what_would_be_written(tune):
    root, told = tune("--dry-run")
    assert told.exit_code == 0, told.output
    assert "would be written to params.yaml (dry run): tenants.alder.train: {" in told.stdout
    assert "next:" not in told.stdout
    assert yaml.safe_load((root / "params.yaml").read_text())["tenants"] == {}


def test_values_that_stay_are_told_with_their_score(tune):
    tune()
    _, told = tune()
    assert told.exit_code == 0, told.output
    assert "3 trials of this study stand" in told.stderr
    assert "params.yaml stays: no trial beats the present values' validation loss" in told.stdout


def test_help_explains(tune):
    _, told = tune("--help")
    assert told.exit_code == 0
    assert "--dry-run" in told.stdout
