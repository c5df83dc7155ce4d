"""The stages after one another, as functions: train, evaluate, gate, register, roll out."""

from collections.abc import Sequence
from pathlib import Path

from components.stages import evaluate, gate, register, train
from components.stages.outcome import TenantOutcome
from components.stages.plan import plan
from components.stages.workspace import Workspace


def run_chain(root: Path, tenants: Sequence[str] | None = None) -> tuple[list[TenantOutcome], dict[str, str]]:
    """Run each stage as its own process would; return all outcomes, and tenant -> version of new champions."""
    outcomes = []
    outdated = [item.tenant for item in plan(Workspace(root), tenants).items if item.outdated]
    for stage in (train, evaluate, gate):
        outcomes += stage.run(Workspace(root), tenants)
    workspace = Workspace(root)
    passed = [one.tenant for one in outcomes if one.stage == "gate" and one.state != "failed"]
    versions, failures = register.register(workspace, plan(workspace, tenants).collect_fingerprints(passed))
    promoted, others = register.roll_out(workspace, versions, outdated)
    return outcomes + failures + others, promoted


def get_states(outcomes: Sequence[TenantOutcome], stage: str) -> dict[str, str]:
    return {one.tenant: one.state for one in outcomes if one.stage == stage}
