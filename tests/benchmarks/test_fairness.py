import re
from collections.abc import Callable


def test_waiting_times_with_and_without_a_flood_are_printed(run_script: Callable[..., str]) -> None:
    printed = run_script("fairness")
    for name in ("without the flood", "PrefixFleet, with the flood", "first come, first served, with the flood"):
        assert re.search(rf"^{name} +[\d.]+ +[\d.]+ +[\d.]+ s", printed, re.MULTILINE), printed
    assert len(re.findall(r"^median waiting time, .*: \d+\.\d+ \[", printed, re.MULTILINE)) == 2
