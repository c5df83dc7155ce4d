import time
from typing import Any

import pytest


def sleeping(turn: Any, seconds: float, parts: int) -> dict[str, Any]:
    turn()
    began = []
    for _ in range(parts):
        began.append(time.monotonic())
        time.sleep(seconds)
        turn()
    return {"began": began}


def failing(turn: Any) -> dict[str, Any]:
    turn()
    raise ValueError("no luck")


@pytest.mark.slow
def test_parts_alternate_and_only_they_are_timed() -> None:
    from harness.alternating_runs import Contender, run_in_turns

    outcomes = run_in_turns({"a": Contender(sleeping, (0.1, 3), 3), "b": Contender(sleeping, (0.2, 3), 3)})
    began = sorted((moment, name) for name, outcome in outcomes.items() for moment in outcome.facts["began"])
    assert [name for _, name in began] == ["a", "b"] * 3
    assert all(0.1 <= seconds < 0.3 for seconds in outcomes["a"].part_seconds)
    assert all(seconds >= 0.2 for seconds in outcomes["b"].part_seconds)
    assert outcomes["a"].peak_bytes > 10**7


@pytest.mark.slow
def test_a_side_that_fails_ends_it(capfd: pytest.CaptureFixture[str]) -> None:
    from harness.alternating_runs import Contender, run_in_turns

    with pytest.raises(SystemExit, match="lame failed"):
        run_in_turns({"lame": Contender(failing, (), 1)})
    assert "no luck" in capfd.readouterr().err
