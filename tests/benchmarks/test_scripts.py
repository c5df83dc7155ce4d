import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
FIGURE = r"([\d,]+(?:\.\d+)?)"


def run(script: str, *options: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PREFIXFLEET_TEST_DATA"}
    command = [sys.executable, str(BENCHMARKS / script), "--quick", *options]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=500)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_training_prints_a_line_a_side_and_every_ratio() -> None:
    printed = run("training.py", "--sides", "peft", "ours", "ours-full", "--rounds", "1", "--batch-size", "3")
    speeds = {
        name: re.search(rf"^{name} +{FIGURE} \[", printed, re.MULTILINE) for name in ("peft", "ours", "ours-full")
    }
    assert all(found is not None and float(found[1].replace(",", "")) > 0 for found in speeds.values()), printed
    assert "ours / peft: " in printed
    assert "ours-full / peft: " in printed
    assert re.search(r"gradients \d\.\de-\d\d apart", printed)


@pytest.mark.slow
def test_fleet_prints_the_whole_time_of_each_side() -> None:
    printed = run("fleet_training.py", "--examples", "4", "--batch-size", "2")
    for side in ("peft one by one", "ours one by one", "ours together"):
        assert re.search(rf"^{side} +{FIGURE} \[", printed, re.MULTILINE), printed
    assert len(re.findall(r" x as fast as ", printed)) == 3


@pytest.mark.slow
def test_serving_prints_every_side_swaps_and_memory_and_the_texts_agree() -> None:
    printed = run("serving.py", "--http")
    for tenants in ("1", "5"):
        for side in ("ours", "ours, one tenant", "ours, HTTP", "a batch a tenant", "peft, switched"):
            found = re.search(rf"^ +{tenants} {side} +{FIGURE} \[", printed, re.MULTILINE)
            assert found, printed
            assert float(found[1].replace(",", "")) > 0
    assert re.search(rf"from the call to resident: {FIGURE} \[.*\] ms", printed)
    assert "30 registered, 12 asked" in printed
    assert "10 are resident" in printed


@pytest.mark.slow
def test_fairness_prints_how_others_wait_with_and_without_a_flood() -> None:
    printed = run("fairness.py")
    for name in ("without the flood", "ours, under it", "first come, first served, under it"):
        assert re.search(rf"^{name} +{FIGURE} +{FIGURE} +{FIGURE} s", printed, re.MULTILINE), printed
    assert len(re.findall(r"an answer waits \d+\.\d+ \[", printed)) == 2


@pytest.mark.slow
def test_the_soak_finds_nothing_wrong_and_says_what_it_did() -> None:
    printed = run("soak.py")
    assert re.search(rf"^{FIGURE} answered .*; [1-9]\d* left$", printed, re.MULTILINE), printed
    assert re.search(r"^[1-9]\d* aliases moved; ", printed, re.MULTILINE)
    assert "no wrong tenant, no mixture, no lost request, nothing left behind" in printed


@pytest.mark.slow
def test_rollout_prints_a_cycle_on_each_database_and_aliases_beside_one_by_one() -> None:
    printed = run("rollout.py")
    assert re.search(rf"^SQLite, the others: {FIGURE} \[.* queries: {FIGURE} to the rollout", printed, re.MULTILINE), (
        printed
    )
    for way in ("the database", "MLflow's server"):
        assert re.search(rf"^all aliases by {way}: {FIGURE} .*one by one {FIGURE}", printed, re.MULTILINE), printed
