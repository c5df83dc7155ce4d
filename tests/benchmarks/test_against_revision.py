import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]


@pytest.mark.slow
def test_ratios_are_printed_and_one_below_the_least_fails(
    run_script: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The earlier revision is the last commit; its checkout is removed afterwards."""
    if not (PROJECT / ".git").exists():
        pytest.skip("not a git checkout")
    with pytest.raises(SystemExit, match=r"below 1000\.0: \d+\.\d{3}"):
        run_script("against_revision", "HEAD", "--parts", "serving", "--least", "1000")
    printed = capsys.readouterr().out
    figure = r"\d+\.\d{3} \[\d+\.\d{3}, \d+\.\d{3}\]"
    assert re.search(rf"^serving +{figure}, of the processor {figure}; \d+\.\d\d s now$", printed, re.MULTILINE), (
        printed
    )
    listed = subprocess.run(("git", "worktree", "list"), cwd=PROJECT, capture_output=True, text=True, check=True)
    assert "/then" not in listed.stdout
