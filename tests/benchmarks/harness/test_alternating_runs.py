from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest


def log_parts(wait_for_turn: Any, log: Path, name: str, seconds: float, parts: int) -> dict[str, Any]:
    """Append a line to the log before and in every part, by a clock that only this function advances."""
    from harness import alternating_runs

    now = 0.0
    alternating_runs.time = SimpleNamespace(perf_counter=lambda: now)  # type: ignore[assignment]

    def work(line: str, duration: float) -> None:
        nonlocal now
        now += duration
        with log.open("a") as file:
            file.write(f"{line}\n")

    work(f"{name} loads", 100.0)
    wait_for_turn()
    for number in range(parts):
        work(f"{name} {number}", seconds)
        wait_for_turn()
    return {"name": name}


def fail(wait_for_turn: Any) -> dict[str, Any]:
    wait_for_turn()
    raise ValueError("a message of the contender")


def test_parts_alternate_and_only_they_are_timed(tmp_path: Path) -> None:
    from harness.alternating_runs import Contender, run_alternately

    log = tmp_path / "log"
    contenders = {
        "a": Contender(log_parts, (log, "a", 0.5, 3), 3),
        "b": Contender(log_parts, (log, "b", 2.0, 3), 3),
    }
    outcomes = run_alternately(contenders)
    assert log.read_text().split("\n")[:-1] == ["a loads", "b loads", "a 0", "b 0", "a 1", "b 1", "a 2", "b 2"]
    assert {name: outcome.part_seconds for name, outcome in outcomes.items()} == {"a": (0.5,) * 3, "b": (2.0,) * 3}
    assert outcomes["b"].facts == {"name": "b"}
    assert outcomes["a"].peak_bytes > 10**7


def test_a_contender_that_fails_ends_the_run(capfd: pytest.CaptureFixture[str]) -> None:
    from harness.alternating_runs import Contender, run_alternately

    with pytest.raises(SystemExit, match="broken failed"):
        run_alternately({"broken": Contender(fail, (), 1)})
    assert "a message of the contender" in capfd.readouterr().err
