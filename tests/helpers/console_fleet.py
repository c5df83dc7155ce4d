"""A workspace with something to see in a console: champions, a trial, a rejection, failures, traffic and feedback."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from processes import run_in
from stage_chain import run_chain
from workspaces import set_params, write_lines, write_tenant

from components.rollout.store.feedback import Feedback, save_feedback
from components.rollout.store.observations import write_counts
from components.rollout.store.runs import RunTenant, begin_run_entry, end_run_entry
from components.rollout.store.usage import Usage, UsageKey, add_served
from components.rollout.types import Observation
from components.stages.last_failures import record_outcomes
from components.stages.outcome import TenantOutcome
from components.stages.plan import plan
from components.stages.rejections import record_rejections
from components.stages.workspace import Workspace
from components.usage.periods import get_today, to_day

FLEET = ("alder", "birch", "cedar")
SCRIPT = "<script>document.title='x'</script>"
"""Text of a tenant that must stay text."""
_CANARY = {"policy": "canary", "steps": [{"share": 0.5, "min_requests": 40}, {"share": 1.0}]}


def make_console_fleet(make_checkout_in: Callable[..., Path], folder: Path) -> Path:
    """Make the workspace: two nights, the second with new data of alder (a trial) and birch (rejected)."""
    root = make_checkout_in(folder, FLEET)
    run_chain(root)
    write_tenant(root / "data", "alder", 100)
    write_tenant(root / "data", "birch", 100)
    train = root / "data" / "birch" / "train.jsonl"
    lines = [json.loads(line) for line in train.read_text(encoding="utf-8").splitlines()]
    lines[0] = {"source": f"thing: {SCRIPT}", "references": ["birch has a thing."]}
    write_lines(train, lines)
    run_in(root, "dvc", "add", "-q", "data")
    tenants = {"alder": {"rollout": _CANARY}, "birch": {"gate": {"floors": {"bleu": 99.0}}}}
    set_params(root, tenants=tenants, prices={"currency": "EUR", "thousand_requests": 500})
    run_chain(root)
    workspace = Workspace(root)
    with closing(workspace.database):
        record_rejections(workspace, plan(workspace).collect_fingerprints(FLEET))
        _add_traffic(workspace)
        _add_usage(workspace)
        _add_runs(workspace)
    write_lines(root / "drops" / "cedar" / "train.jsonl", [{"source": SCRIPT, "references": []}])
    reason = f"1 of 1 lines rejected: {SCRIPT}"
    record_outcomes(workspace, [TenantOutcome("cedar", "version", "failed", reason)])
    return root


def _add_usage(workspace: Workspace) -> None:
    """Record today's requests of alder as usage."""
    today = UsageKey("alder", to_day(get_today()))
    add_served(workspace.database, "console fleet", 1, {today: Usage(requests=84)})


def _add_traffic(workspace: Workspace) -> None:
    """Count two days of answers of alder, and save opinions on them."""
    write_counts(workspace.database, _make_observations(int(time.time() // 60)))
    for number, (rating, corrected) in enumerate(((1.0, None), (0.0, None), (None, f"alder has {SCRIPT}"))):
        opinion = Feedback(
            tenant="alder",
            version="1",
            arm="champion",
            request=f"cmpl-{number}",
            rating=rating,
            source=f"thing: {SCRIPT}",
            corrected=corrected,
        )
        save_feedback(workspace.database, opinion)


def _add_runs(workspace: Workspace) -> None:
    """Record two runs: one on two workers, and one that was stopped."""
    began_s = time.time() - 7200
    for began_at in ("2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00"):
        run = begin_run_entry(workspace.database, "schedule", "ada", began_at)
        tenants = [
            RunTenant(
                tenant=tenant,
                result=result,
                reason="data changed",
                detail=detail,
                shard=f"shard-{number}",
                worker=f"gpu-{number}:7",
                device="NVIDIA H200",
                began_s=began_s + 60 * number,
                ended_s=began_s + 300 * number,
                device_seconds=10.0 + 20.5 * (number - 1),
                training_tokens=12_345 * number,
            )
            for number, (tenant, result, detail) in enumerate(
                (("alder", "promoted", "version 1"), ("birch", "rejected", "BLEU is below its floor of 99.")), 1
            )
        ]
        end_run_entry(workspace.database, run, began_at.replace("T00", "T01"), "abc.dir", 1, tenants)
    begin_run_entry(workspace.database, "hand", "ada", "2026-01-03T00:00:00+00:00")


def _make_observations(now: int) -> Iterator[Observation]:
    for minutes_ago in (2, 20, 50, 24 * 60, 25 * 60):
        for version, arm, requests in (("1", "champion", 12), ("2", "challenger", 6)):
            yield Observation(
                tenant="alder",
                version=version,
                arm=arm,
                minute=now - minutes_ago,
                requests=requests,
                errors=1 if minutes_ago == 20 else 0,
                tokens=9 * requests,
                latencies={24: requests - 1, 36: 1},
            )
