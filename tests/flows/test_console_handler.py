"""Prefect's lines on a terminal or in a log: the text as it is, control characters escaped."""

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


def test_a_line_has_no_emoji_for_a_line_number_and_no_escape_sequence(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], capture_output=True, text=True, check=True, timeout=120
    )
    (line,) = done.stderr.splitlines()
    assert line.endswith("train.jsonl:100: [red]x[/red] \\x1b[31m")
