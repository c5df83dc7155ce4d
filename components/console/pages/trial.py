"""A tenant's trial: the evidence of each check against its boundary, its traffic, what it waits for, and its moves.

The moves are those of `prefixfleet promote`, `rollback`, `pause` and `pin`; each is confirmed on a page of its own.
"""

import hashlib
import math
import time
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, BackgroundTasks
from fastapi.responses import RedirectResponse, Response

from components.config.rollout import RolloutCheck, ShadowConfig, StepConfig
from components.console.security import FormFields
from components.console.view import OperatorView, TenantView, View, require_workspace
from components.rollout.policy.checks import CheckTrace
from components.rollout.store.ledger import read_history
from components.rollout.store.tenant_state import read_state
from components.stages.notifications import send_notifications
from components.stages.rollout.move_offers import (
    OfferedMove,
    describe_situation,
    find_offer,
    list_offers,
    make_offered_move,
)
from components.stages.rollout.trial_evidence import TrialEvidence, read_trial_evidence

router = APIRouter()

_MAX_POINTS = 150
_LEDGER_LINES = 10
_TITLES: dict[RolloutCheck, str] = {
    "errors": "Evidence on errors",
    "latency": "Evidence on latency",
    "empty": "Evidence on empty answers",
    "repeated": "Evidence on repetitive answers",
    "over_long": "Evidence on answers cut at their largest length",
    "feedback": "Evidence on feedback",
}
VERBS: dict[OfferedMove, str] = {
    "promote": "Promote",
    "rollback": "Roll back",
    "pause": "Pause",
    "resume": "Resume",
    "pin": "Pin",
    "unpin": "Unpin",
}


@router.get("/tenants/{tenant}/trial", response_model=None)
def show_trial(view: TenantView, tenant: str, shown: str = "") -> Response:
    """Show the trial, or that there is none, with the newest lines of the ledger.

    An open page asks again and again, with the digest of what it has `shown`: 204 if that is still so.
    """
    values = {"tenant": tenant, "refresh_seconds": view.console.config.refresh_seconds, **_read_trial(view, tenant)}
    digest = hashlib.sha256(view.fill("trial_now.html", digest="", **values).encode()).hexdigest()[:16]
    if view.is_part and shown == digest:
        return Response(status_code=204)
    if view.is_part:
        return view.render("trial_now.html", digest=digest, **values)
    return view.render("trial.html", digest=digest, **values)


def _read_trial(view: View, tenant: str) -> dict[str, Any]:
    history = read_history(view.sources.database, tenant)[-_LEDGER_LINES:]
    workspace = view.sources.workspace
    if workspace is None:
        return {"has_workspace": False, "trial": None, "offers": [], "history": history[::-1]}
    trial = read_trial_evidence(workspace, tenant, workspace.registry.find_challenger(tenant), time.time())
    state = read_state(workspace.database, tenant)
    return {
        "has_workspace": True,
        "trial": trial,
        "state": state,
        "steps": _list_steps(trial) if trial else [],
        "charts": [_make_evidence_chart(one) for one in trial.traces if len(one.answers)] if trial else [],
        "traffic": _make_traffic_chart(trial) if trial and trial.traffic else None,
        "offers": list_offers(workspace, state),
        "verbs": VERBS,
        "history": history[::-1],
    }


@router.get("/tenants/{tenant}/trial/{move}", response_model=None)
def confirm_move(view: OperatorView, tenant: str, move: OfferedMove) -> Response:
    """Say what a move will do, and ask for a confirmation."""
    state = read_state(view.sources.database, tenant)
    return view.render(
        "trial_confirm.html",
        tenant=tenant,
        offer=find_offer(require_workspace(view.console), state, move),
        verb=VERBS[move],
        situation=describe_situation(state),
    )


@router.post("/tenants/{tenant}/trial/{move}", response_model=None)
def make_move(view: OperatorView, tenant: str, move: OfferedMove, form: FormFields, later: BackgroundTasks) -> Response:
    """Make a move in the visitor's name, if the tenant's versions are still those that were shown."""
    view.sources.reload()
    workspace = require_workspace(view.console)
    state = read_state(view.sources.database, tenant)
    make_offered_move(workspace, state, move, form.get("situation", ""), view.actor)
    later.add_task(send_notifications, workspace, None)
    return RedirectResponse(f"{view.root}/tenants/{tenant}/trial", 303)


def _list_steps(trial: TrialEvidence) -> list[dict[str, Any]]:
    """Return the steps of a canary, or the one of a shadow; none of a trial by hand."""
    config, state = trial.config, trial.state
    steps: Sequence[StepConfig | ShadowConfig] = ()
    if state.mode in ("canary", "shadow"):
        steps = config.steps if state.mode == "canary" else [config.shadow]
    return [
        {
            "number": number,
            "share": step.share,
            "hours": step.hours,
            "min_requests": step.min_requests,
            "proven": step.proven,
            "place": "done" if number <= state.step else "now" if number == state.step + 1 else "later",
        }
        for number, step in enumerate(steps, 1)
    ]


def _make_evidence_chart(trace: CheckTrace) -> dict[str, Any]:
    """Return the evidence of one check by answers, as powers of ten, with the boundary at which it decides."""
    kept = _choose_points(len(trace.answers))
    boundary = round(math.log10(trace.finding.needed), 3)
    ends = (trace.answers[0], trace.answers[-1])
    return {
        "check": trace.finding.check,
        "title": _TITLES[trace.finding.check],
        "series": [
            _make_series("challenger is worse", [(trace.answers[at], trace.worse_logs[at]) for at in kept]),
            _make_series("challenger is no worse", [(trace.answers[at], trace.fine_logs[at]) for at in kept]),
            {"label": "boundary", "points": [[at, boundary] for at in dict.fromkeys(ends)], "dashed": True},
        ],
    }


def _make_series(label: str, points: Sequence[tuple[int, float]]) -> dict[str, Any]:
    return {"label": label, "points": [[x, round(float(log) / math.log(10), 3)] for x, log in points]}


def _choose_points(count: int) -> list[int]:
    stride = max(1, -(-count // _MAX_POINTS))
    return sorted({*range(0, count, stride), count - 1})


def _make_traffic_chart(trial: TrialEvidence) -> list[dict[str, Any]]:
    """Return the share that was set and the share of the answers, in per cent by minutes since the trial began."""
    start = trial.state.start_minute
    last = trial.traffic[-1].minute + trial.period_minutes

    def count_minutes(minute: float) -> float:
        return round(minute - start, 1)

    starts = [one.second / 60 for one in trial.state.changes]
    planned = [
        [count_minutes(minute), round(100 * change.share, 1)]
        for change, begin, end in zip(trial.state.changes, starts, [*starts[1:], max(last, starts[-1])], strict=True)
        for minute in (begin, end - 0.6)
    ]
    answered = [
        [
            count_minutes(one.minute + trial.period_minutes / 2),
            round(100 * one.challenger / (one.challenger + one.champion), 1),
        ]
        for one in trial.traffic
        if one.challenger + one.champion
    ]
    return [
        {"label": "share that was set", "points": planned, "dashed": True},
        {"label": "share of the answers", "points": answered},
    ]
