"""Prefect's lines on a terminal or in a log: the text as it is, control characters escaped."""

import json
import os
import subprocess
import sys

SCRIPT = """
import logging, sys
from pathlib import Path
from flows.environment import prepare_environment
prepare_environment(Path(sys.argv[1]))
from prefect.logging.configuration import setup_logging
setup_logging()
logging.getLogger("prefixfleet").critical("train.jsonl:100: [red]x[/red] \\x1b[31m")
"""


def run_script(folder, **environment):
    """The lines on stderr."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env={**os.environ, **environment},
    )
    return done.stderr.splitlines()


def test_a_line_has_no_emoji_for_a_line_number_and_no_escape_sequence(tmp_path):
    (line,) = run_script(tmp_path)
    assert line.endswith("train.jsonl:100: [red]x[/red] \\x1b[31m")


def test_with_json_logs_a_line_is_one_object(tmp_path):
    (line,) = run_script(tmp_path, PREFIXFLEET_LOG_FORMAT="json")
    values = json.loads(line)
    assert values.pop("time")
    text = "train.jsonl:100: [red]x[/red] \x1b[31m"
    assert values == {"level": "CRITICAL", "logger": "prefixfleet", "message": text}
