"""Processes that are killed (kill -9) in the middle of a move: the next one completes it."""

import signal

import pytest

from components.stages.rollout import manual
from components.stages.rollout.actors import Actor
from components.stages.rollout.cycle import summarize_cycle

TENANTS = ("alder", "birch", "cedar")
MOVE = """
import os, signal
from pathlib import Path
import mlflow.store.model_registry.sqlalchemy_store, mlflow.store.tracking.sqlalchemy_store  # once, not in each fork
from components.stages import register
from components.stages.workspace import Workspace

class DeadlyRegistry:
    def __init__(self, registry, name, when):
        self.registry, self.name, self.when = registry, name, when

    def __getattr__(self, name):
        call = getattr(self.registry, name)
        def deadly(first, *rest):
            if name != self.name or getattr(first, "tenant", first) != "birch":
                return call(first, *rest)
            if self.when == "after":
                call(first, *rest)
            os.kill(os.getpid(), signal.SIGKILL)
        return deadly if callable(call) else call

def run(root, name, when):
    workspace = Workspace(Path(root))
    versions = {tenant: workspace.registry.find_versions(tenant)[0] for tenant in ("alder", "birch", "cedar")}
    workspace.registry = DeadlyRegistry(workspace.registry, name, when)
    register.roll_out(workspace, versions, [])
"""
PROMOTION = ("retrain", "promote", "1", "3")


@pytest.mark.slow
def test_a_killed_rollout_is_completed_as_its_own_move(make_fleet, start_forks):
    """Killed before it has set the champion's alias of birch, after that, and before it ends the trial of birch."""
    cases = [("set_alias", "before", []), ("set_alias", "after", [PROMOTION]), ("delete_alias", "before", [PROMOTION])]
    fork = start_forks(MOVE)
    template = make_fleet({"policy": "immediate"}, folder="template")
    for tenant in TENANTS:
        template.register(tenant, 3)
        template.set_aliases(tenant, champion="1", challenger="2")
    template.run_cycle()
    for call, when, moves in cases:
        fleet = template.copy(f"{call}-{when}")
        assert fork(str(fleet.root), call, when)() == -signal.SIGKILL
        check_completion(fleet, moves)


def check_completion(fleet, moves):
    assert fleet.list_moves("alder")[-1] == PROMOTION
    manual.hold(fleet.workspace, "cedar", "pin", by=Actor("ada"))
    assert ("1 completed after an interruption" in summarize_cycle(*fleet.run_cycle())) == bool(moves)
    assert fleet.list_moves("birch")[1:] == moves
    assert fleet.read_aliases("birch") == ({"champion": "3"} if moves else {"champion": "1", "challenger": "2"})
    assert fleet.roll_out(*TENANTS) == {"alder": "3", "birch": "3"}
    assert [move[:2] for move in fleet.list_moves("birch")[1:]] == [("retrain", "promote")]
    assert fleet.list_moves("cedar")[-1][:2] == ("ada", "pin")
    assert fleet.read_aliases("cedar") == {"champion": "1", "challenger": "2"}
    assert fleet.client.get_model_version("prefix-birch", "3").tags["promoted"]
