"""The state of one tenant in one word, from facts that were read before. Pure: reads no file, asks no service.

The first state whose condition holds is the tenant's, in the order of STATES: what needs attention comes first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from components.rollout.types import LedgerEntry
from components.stages.last_failures import LastFailure
from components.stages.rollout.trial_progress import TrialProgress

TenantState = Literal[
    "broken", "foreign", "failed", "refused", "rolled-back", "on-trial", "pinned", "stale", "new", "healthy"
]
STATES: tuple[TenantState, ...] = get_args(TenantState)
TROUBLE: tuple[TenantState, ...] = ("broken", "foreign", "failed", "refused")
"""The states that `--only trouble` selects."""


@dataclass(frozen=True, slots=True)
class VerdictFacts:
    """The last verdict of the gate on a tenant."""

    accepted: bool
    sentence: str
    of_present_prefix: bool
    """About the prefix in out/train, which has the present data, parameters and base."""
    changed_settings: Sequence[str]
    """Keys of the gate section that differ from those of the verdict: the next run gates again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TenantFacts:
    """What decides a tenant's state. Versions of "" are none."""

    tenant: str
    champion: str = ""
    champion_problem: str = ""
    """Why the champion is broken; "": it is not, as far as a quick check shows."""
    foreign_owner: str = ""
    """The workspace that registered the champion, if it is another one."""
    is_present_prefix: bool = False
    """The champion has the fingerprint of the present data, parameters and base."""
    training_reason: str = ""
    """Why the next run trains; "": it does not."""
    is_registered: bool = False
    """The prefix in out/train is a version already, though not the champion."""
    failure: LastFailure | None = None
    verdict: VerdictFacts | None = None
    trial: TrialProgress | None = None
    pinned: bool = False
    last_move: LedgerEntry | None = None
    """The newest promotion, rollback or withdrawal in the ledger."""
    challenger_problem: str = ""
    """Why the challenger cannot serve; "": it can, or there is none."""
    alias_drift: Sequence[str] = ()
    """Aliases that were moved in MLflow and are not in the ledger yet, in words."""
    drift: str = ""
    """How far the requests are from the training data, in words; "": not far, or not known."""
    budget: str = ""
    """How its budget was spent, in words; "": it is not, or there is none."""
    skips_training: bool = False
    """Whether that keeps the next run from training."""
    overlaps: str = ""
    """How much of validation and test stood in train at the last training, in words; "": nothing."""


def choose_state(facts: TenantFacts) -> tuple[TenantState, str]:
    """Return a tenant's state and its reason, a sentence that also says what to do; "" for a healthy tenant."""
    tenant, verdict = facts.tenant, facts.verdict
    if facts.champion_problem:
        fix = f"`prefixfleet rollback {tenant}`, or `promote {tenant} --version N`, moves the alias"
        return "broken", f"champion {facts.champion}: {facts.champion_problem}; {fix}"
    if facts.foreign_owner:
        fix = f"`prefixfleet adopt {tenant}` takes the tenant over"
        return "foreign", f"champion {facts.champion} belongs to workspace {facts.foreign_owner}; {fix}"
    if facts.failure:
        return "failed", f"in {facts.failure.stage}, {facts.failure.at}: {facts.failure.reason}"
    if verdict and verdict.of_present_prefix and not verdict.accepted:
        return "refused", verdict.sentence + _describe_changed_gate(verdict)
    if reason := _describe_rollback(facts):
        return "rolled-back", reason
    if facts.trial:
        return "on-trial", facts.trial.sentence
    if facts.pinned:
        return "pinned", f"version {facts.champion} stays champion until `prefixfleet pin {tenant} --off`"
    present = facts.champion and facts.is_present_prefix
    return ("healthy", "") if present else ("stale" if facts.champion else "new", _describe_next_run(facts))


def list_notes(facts: TenantFacts, state: TenantState) -> list[str]:
    """Return what else a person should know of a tenant, beside the reason of its state."""
    notes = [f"{drift}, moved in MLflow: the next rollout cycle records it" for drift in facts.alias_drift]
    if facts.trial and state != "on-trial":
        notes.append(f"on trial: {facts.trial.sentence}")
    if facts.challenger_problem:
        notes.append(f"the challenger cannot answer: {facts.challenger_problem}")
    if facts.pinned and state != "pinned":
        notes.append(f"version {facts.champion} is pinned")
    if facts.training_reason and state not in ("stale", "new"):
        verb = "does not train, as the budget is spent" if facts.skips_training else "trains"
        notes.append(f"the next run {verb}: {facts.training_reason}")
    if facts.budget:
        notes.append(facts.budget)
    if facts.drift:
        notes.append(facts.drift)
    if facts.overlaps:
        notes.append(facts.overlaps)
    verdict = facts.verdict
    if verdict and not verdict.of_present_prefix and not verdict.accepted:
        notes.append(f"an earlier prefix was refused: {verdict.sentence}")
    if verdict and verdict.accepted and verdict.of_present_prefix and verdict.changed_settings:
        notes.append(f"accepted with other settings than now ({', '.join(verdict.changed_settings)})")
    return notes


def _describe_rollback(facts: TenantFacts) -> str:
    """Return how the version of the prefix in out/train was replaced by an older one, or by none; "": it was not."""
    if facts.trial or facts.is_present_prefix or facts.training_reason or not facts.is_registered:
        return ""
    move = facts.last_move
    if move and move.to_version == facts.champion:
        is_back = move.action != "promote" or _to_number(move.to_version) < _to_number(move.from_version)
        return f"version {move.from_version} -> {move.to_version or 'none'} by {move.by}: {move.why}" if is_back else ""
    return "the newest version lost its alias in MLflow" if facts.alias_drift else ""


def _describe_changed_gate(verdict: VerdictFacts) -> str:
    if not verdict.changed_settings:
        return ""
    changed = ", ".join(verdict.changed_settings)
    return f" This verdict is of other settings than now ({changed}): the next `prefixfleet retrain` gates again."


def _describe_next_run(facts: TenantFacts) -> str:
    if facts.training_reason:
        verb = "does not train it, as its budget is spent" if facts.skips_training else "trains"
        return f"{facts.training_reason}: the next `prefixfleet retrain` {verb}"
    if facts.verdict is None or not facts.verdict.of_present_prefix:
        return "trained and not gated: the next `prefixfleet retrain` gates it"
    if facts.is_registered:
        return f"the newest version has no alias: `prefixfleet promote {facts.tenant}` makes it champion"
    return "accepted and not registered: the next `prefixfleet retrain` registers it"


def _to_number(version: str) -> int:
    return int(version) if version.isdigit() else 0
