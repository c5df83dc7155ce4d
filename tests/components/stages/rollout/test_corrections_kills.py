"""Deliveries of corrections by many processes, one of which is killed (kill -9): none is lost or delivered twice."""

import signal

import pytest

from components.data.schema import read_split
from components.rollout.store.corrections import read_corrections
from components.rollout.store.feedback import Feedback, save_feedback
from components.stages.rollout.corrections import deliver_corrections

DELIVER = """
import os, signal
from pathlib import Path
from components.stages.rollout import corrections
from components.stages.workspace import Workspace

def run(root, *killed):
    if killed:
        corrections.mark_delivered = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    corrections.deliver_corrections(Workspace(Path(root)))
"""


def add_correction(fleet, number):
    answer = {"tenant": "acme", "version": "2", "arm": "challenger", "request": f"r{number}"}
    save_feedback(fleet.workspace.database, Feedback(**answer, source=f"s{number}", corrected=f"c{number}"))


def read_drop(fleet):
    path = fleet.root / "drops" / "acme" / "train.jsonl"
    return [one.source for one in read_split(path, fleet.workspace.params.data)]


@pytest.mark.slow
def test_corrections_are_delivered_once_by_many_processes_one_of_which_is_killed(make_fleet, start_forks):
    fleet, fork = make_fleet({}, data={"max_corrections": 1.0}), start_forks(DELIVER)
    for number in range(20):
        add_correction(fleet, number)
    assert fork(str(fleet.root), "killed")() == -signal.SIGKILL
    assert len(read_drop(fleet)) == len(read_corrections(fleet.workspace.database, "acme")) == 20
    waits = [fork(str(fleet.root)) for _ in range(3)]
    for number in range(20, 60):
        add_correction(fleet, number)
    assert [wait() for wait in waits] == [0, 0, 0]
    deliver_corrections(fleet.workspace)
    assert read_drop(fleet) == [f"s{number}" for number in range(60)]
    assert read_corrections(fleet.workspace.database, "acme") == []
