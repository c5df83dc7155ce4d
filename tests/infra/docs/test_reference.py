"""The reference pages name every command, setting, path and metric, each with its meaning."""

import re

import pytest
import yaml
from typer.main import get_command

from cli.main import app
from components.config import Params
from components.config.problems import list_known_keys
from components.serving.fleet.metrics import GAUGES
from components.stages.run_metrics import RUN_GAUGES
from infra.docs.reference import write_api, write_commands, write_metrics, write_settings


def read_rows(page: str, heading: str) -> dict[str, list[str]]:
    """Return the rows of the first table below a heading: first cell, without backquotes -> the other cells."""
    part = f"\n{page}".split(f"\n{heading}\n", 1)[1].split("\n#", 1)[0]
    rows = [re.split(r" (?<!\\)\| ", line.strip("| ")) for line in part.splitlines() if line.startswith("| `")]
    return {row[0].strip("`"): row[1:] for row in rows}


def test_every_command_is_there_with_its_options():
    page = write_commands()
    group = get_command(app)
    for name, command in group.commands.items():
        inner = getattr(command, "commands", {"": command})
        for part, one in inner.items():
            assert f"\n## prefixfleet {name} {part}".rstrip() + "\n" in page
            assert one.help
    rows = read_rows(page, "## prefixfleet serve")
    assert "0: any free port" in rows["--port"][0]
    assert read_rows(page, "## prefixfleet base check")["PATH"]


def test_every_setting_has_its_type_its_default_and_a_meaning():
    page = write_settings()
    for path in (
        "base",
        "train",
        "evaluate",
        "gate.non_inferiority",
        "rollout.steps",
        "serve",
        "workers",
        "triggers.drift",
    ):
        rows = read_rows(page, f"## {path}")
        assert set(rows) == set(list_known_keys(Params, path.split("."))) or path == "rollout.steps"
    empty = [line for line in page.splitlines() if line.startswith("| `") and line.endswith("|  |")]
    assert empty == []
    assert read_rows(page, "## train")["prefix_length"][:2] == ["whole number", "`8`"]
    default = read_rows(page, "## gate")["non_inferiority"][1]
    assert yaml.safe_load(default.strip("`")) == [{"metric": "bleu", "margin": 1.0, "confidence": 0.95}]


@pytest.mark.parametrize(
    "path", ["POST /v1/completions", "POST /v1/chat/completions", "POST /v1/feedback", "GET /metrics"]
)
def test_every_path_of_the_api_is_there(path):
    assert f"\n## {path}\n" in write_api()


def test_the_fields_of_a_body_are_listed():
    rows = read_rows(write_api(), "## POST /v1/chat/completions")
    assert rows["model"][1] == "needed"
    assert rows["n"] == ["integer or null", "", "samples for each prompt"]


def test_counters_and_gauges_have_their_meaning():
    rows = read_rows(write_metrics(), "## Of a server")
    assert rows["prefixfleet_requests_total"] == ["counter", "Requests by tenant, arm and HTTP status."]
    assert {f"prefixfleet_{name}" for name in GAUGES} <= set(rows)
    rows = read_rows(write_metrics(), "## Of flows")
    assert {f"prefixfleet_{name}" for name in RUN_GAUGES} <= set(rows)
    assert rows["prefixfleet_runs_total"][0] == "counter"
