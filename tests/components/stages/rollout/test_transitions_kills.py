"""Processes that end by kill -9 in the middle of a move or a delivery: the next one finishes what they began."""

import os
import signal
import subprocess
import sys
import time

import pytest

from components.data.schema import read_split
from components.rollout.store.feedback import Feedback, read_corrections, save_feedback
from components.stages.rollout import manual
from components.stages.rollout.corrections import deliver_corrections
from components.stages.rollout.cycle import summarize_cycle

MOVER = """
import os, signal, sys
from pathlib import Path
from components.stages import register
from components.stages.workspace import Workspace

place, name, before = Workspace(Path(sys.argv[1])), sys.argv[2], sys.argv[3] == "before"
versions = {tenant: place.registry.find_versions(tenant)[0] for tenant in ("alder", "birch", "cedar")}

class Deadly:
    def __init__(self, registry):
        self.registry = registry
    def __getattr__(self, asked):
        call = getattr(self.registry, asked)
        def deadly(first, *rest):
            if asked != name or getattr(first, "tenant", first) != "birch":
                return call(first, *rest)
            before or call(first, *rest)
            os.kill(os.getpid(), signal.SIGKILL)
        return deadly if callable(call) else call

place.registry = Deadly(place.registry)
register.roll_out(place, versions, [])
"""
DELIVERER = """
import os, signal, sys
from pathlib import Path
from components.stages.rollout import corrections
from components.stages.workspace import Workspace

if sys.argv[2] == "killed":
    corrections.mark_delivered = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
corrections.deliver_corrections(Workspace(Path(sys.argv[1])))
"""


def start(script, root, *arguments):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-c", script, str(root), *arguments], env=environment)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "when", "told"),
    [
        ("set_alias", "before", []),
        ("set_alias", "after", [("retrain", "promote", "1", "3")]),
        ("delete_alias", "before", [("retrain", "promote", "1", "3")]),
    ],
)
def test_a_killed_retraining_is_finished_as_its_own(make_fleet, call, when, told):
    fleet = make_fleet({"policy": "immediate"})
    for tenant in ("alder", "birch", "cedar"):
        fleet.register(tenant, 3)
        fleet.move(tenant, champion="1", challenger="2")
    fleet.roll()
    assert start(MOVER, fleet.root, call, when).wait() == -signal.SIGKILL
    assert fleet.told("alder")[-1] == ("retrain", "promote", "1", "3")
    manual.hold(fleet.workspace, "cedar", "pin", by="ada")
    assert ("1 completed after an interruption" in summarize_cycle(*fleet.roll())) == bool(told)
    assert fleet.told("birch")[1:] == told
    assert fleet.aliases("birch") == ({"champion": "3"} if told else {"champion": "1", "challenger": "2"})
    assert fleet.release("alder", "birch", "cedar") == {"alder": "3", "birch": "3"}
    assert [line[:2] for line in fleet.told("birch")[1:]] == [("retrain", "promote")]
    assert fleet.told("cedar")[-1][:2] == ("ada", "pin")
    assert fleet.aliases("cedar") == {"champion": "1", "challenger": "2"}
    assert fleet.client.get_model_version("prefix-birch", "3").tags["promoted"]


def gave(fleet, number):
    said = {"tenant": "acme", "version": "2", "arm": "challenger", "request": f"r{number}"}
    save_feedback(fleet.workspace.database, Feedback(**said, source=f"s{number}", corrected=f"c{number}"))


def delivered(fleet):
    path = fleet.root / "drops" / "acme" / "train.jsonl"
    return [one.source for one in read_split(path, fleet.workspace.params.data)]


@pytest.mark.slow
def test_corrections_are_delivered_once_by_many_of_whom_one_is_killed(make_fleet):
    fleet = make_fleet({})
    for number in range(20):
        gave(fleet, number)
    assert start(DELIVERER, fleet.root, "killed").wait() == -signal.SIGKILL
    assert len(delivered(fleet)) == len(read_corrections(fleet.workspace.database)) == 20
    beside = [start(DELIVERER, fleet.root, "whole") for _ in range(2)]
    for number in range(20, 60):
        gave(fleet, number)
        time.sleep(0.05)
    assert [one.wait() for one in beside] == [0, 0]
    deliver_corrections(fleet.workspace)
    assert delivered(fleet) == [f"s{number}" for number in range(60)]
    assert read_corrections(fleet.workspace.database) == []
