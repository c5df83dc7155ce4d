"""Prefixes that the gate rejected: why, and where it is told: MLflow, the ledger, and an event.

A rejection is told once. Does not know how the event is sent.
"""

from collections.abc import Mapping

from components.evaluation.gate import Verdict
from components.registry.registry import CHAMPION
from components.rollout.store.ledger import read_newest, write_entries
from components.rollout.types import LedgerEntry
from components.stages.gate import read_last_verdict
from components.stages.notifications import announce
from components.stages.register import CAUSE_TAG, DescribeCause, find_judged, make_run_log, say_nothing
from components.stages.workspace import Workspace

_ACTOR = "retrain"
_NOTE_TAG = "mlflow.note.content"
"""MLflow's tag of the description on a run's page."""


def explain_rejection(verdict: Verdict) -> str:
    """Return the sentences of the checks that failed."""
    return " ".join(check.sentence for check in verdict.checks if not check.passed)


def find_rejected(workspace: Workspace) -> dict[str, str]:
    """Return tenant -> why, for every tenant whose last verdict in out/gate is a rejection. Raises GateError."""
    verdicts = {tenant: read_last_verdict(workspace, tenant) for tenant in workspace.list_tenants()}
    return {tenant: explain_rejection(one) for tenant, one in verdicts.items() if one and not one.accepted}


def record_rejections(
    workspace: Workspace, fingerprints: Mapping[str, str], describe_cause: DescribeCause = say_nothing
) -> dict[str, str]:
    """Tell every rejection of a planned prefix that was not told before; return tenant -> why, of all rejections.

    `fingerprints` (tenant -> fingerprint) come from a plan; a tenant whose prefix has another fingerprint is left out.
    Each new rejection gets a run in MLflow (without a version), an entry in the ledger, and an event in the outbox.
    Idempotent: the ledger holds what was told.

    Raises:
        RegistryError: MLflow does not answer.
        WorkspaceError: the database does not answer.
    """
    rejected = [one for one in find_judged(workspace, fingerprints, []) if not one[1].accepted]
    if not rejected:
        return {}
    told = read_newest(workspace.database, ("reject", "promote", "challenge"))
    champions = workspace.registry.poll_aliased(CHAMPION)[CHAMPION]
    for manifest, verdict in rejected:
        tenant, why = manifest.tenant, explain_rejection(verdict)
        last = told.get(tenant)
        if last and (last.action, last.why, last.figures.get("prefix")) == ("reject", why, manifest.sha256):
            continue
        cause = describe_cause(tenant)
        tags = {"verdict_sentence": verdict.sentence, _NOTE_TAG: verdict.sentence, CAUSE_TAG: cause}
        log = make_run_log(workspace, manifest, verdict, tags)
        workspace.registry.log_run(tenant, log)
        champion = champions.get(tenant)
        entry = LedgerEntry(
            tenant=tenant,
            by=_ACTOR,
            action="reject",
            from_version=champion.version if champion else "",
            to_version=champion.version if champion else "",
            why=why,
            figures={
                "prefix": manifest.sha256,
                "cause": cause,
                "failed": [check.model_dump(mode="json") for check in verdict.checks if not check.passed],
            },
        )
        with workspace.database.transaction("to record a rejection") as connection:
            write_entries(connection, entry)
            announce(workspace, connection, entry)
    return {manifest.tenant: explain_rejection(verdict) for manifest, verdict in rejected}
