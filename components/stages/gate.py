"""Stage `gate`: a verdict for every evaluated tenant in out/gate/<tenant>/verdict.json.

Reads reports and predictions only. Does not know the model or the registry, so judging again with other floors is fast.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from components.errors import GateError
from components.evaluation.gate import Verdict, judge_candidate, read_verdict, write_verdict
from components.otel.spans import open_span
from components.stages.evaluate import PREDICTIONS_FILE, REPORT_FILE
from components.stages.evaluation_scoring import read_scored
from components.stages.outcome import TenantOutcome, attempt
from components.stages.progress import log_info
from components.stages.stamps import is_up_to_date, read_json, remove_departed, write_json, write_stamp
from components.stages.workspace import Workspace

VERDICT_FILE = "verdict.json"
VERDICTS_FILE = "verdicts.json"


def run(workspace: Workspace, tenants: Sequence[str] | None = None) -> list[TenantOutcome]:
    """Judge every (or each named) tenant. A rejected prefix is not a failure."""
    outcomes = [try_judge_tenant(workspace, tenant) for tenant in workspace.list_tenants(tenants)]
    gather_results(workspace)
    return outcomes


def try_judge_tenant(workspace: Workspace, tenant: str) -> TenantOutcome:
    """Judge one tenant; a PrefixFleetError becomes a failed outcome."""

    def judge() -> TenantOutcome:
        with open_span("gate tenant", tenant=tenant) as span:
            outcome = judge_tenant(workspace, tenant)
            verdict = read_last_verdict(workspace, tenant)
            span.set(outcome=outcome.state, accepted=verdict is not None and verdict.accepted)
            return outcome

    return attempt(tenant, "gate", judge)


def judge_tenant(workspace: Workspace, tenant: str) -> TenantOutcome:
    """Judge one tenant's report and write the verdict, unless the verdict in out/gate is up to date.

    Raises:
        GateError: the tenant was not evaluated, the reports cannot be compared, or a metric cannot see the references.

    """
    evaluated, folder = workspace.get_output_folder("evaluate", tenant), workspace.get_output_folder("gate", tenant)
    if not (evaluated / REPORT_FILE).is_file():
        fix = "evaluate the prefix first (`prefixfleet retrain`)"
        raise GateError(f"a report on {tenant}'s prefix", f"none in {evaluated}", fix)
    if is_judged(workspace, tenant):
        return TenantOutcome(tenant, "gate", "skipped", read_verdict(folder / VERDICT_FILE).sentence)
    params, inputs = workspace.params.for_tenant(tenant), _make_inputs(workspace, tenant)
    champion, version = _find_champion_report(workspace, tenant)
    verdict = judge_candidate(
        read_scored(evaluated),
        read_scored(champion) if champion else None,
        params.gate,
        params.evaluate.lowercase,
        champion_version=version,
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_verdict(folder / VERDICT_FILE, verdict)
    write_stamp(folder, inputs, [VERDICT_FILE])
    log_info(f"{tenant}: {verdict.sentence}")
    return TenantOutcome(tenant, "gate", "done", verdict.sentence)


def is_judged(workspace: Workspace, tenant: str) -> bool:
    """Return whether the verdict in out/gate is that of the tenant's present reports and gate section."""
    folder = workspace.get_output_folder("gate", tenant)
    return is_up_to_date(folder, _make_inputs(workspace, tenant), workspace.digests.digest_file)


def _make_inputs(workspace: Workspace, tenant: str) -> dict[str, Any]:
    params, digest = workspace.params.for_tenant(tenant), workspace.digests.digest_file
    evaluated = workspace.get_output_folder("evaluate", tenant)
    champion, version = _find_champion_report(workspace, tenant)
    return {
        "candidate": [digest(evaluated / name) for name in (REPORT_FILE, PREDICTIONS_FILE)],
        "champion": [digest(champion / name) for name in (REPORT_FILE, PREDICTIONS_FILE)] if champion else None,
        "champion_version": version,
        "gate": params.gate.model_dump(mode="json"),
        "lowercase": params.evaluate.lowercase,
        "tokenize": params.evaluate.tokenize,
    }


def _find_champion_report(workspace: Workspace, tenant: str) -> tuple[Path | None, str | None]:
    """Return the folder of the champion's report and the champion's version; None for both if there is no report."""
    folder = workspace.get_output_folder("evaluate", tenant) / "champion"
    known = read_json(folder / "version.json")
    return (folder, known["version"]) if known else (None, None)


def read_last_verdict(workspace: Workspace, tenant: str) -> Verdict | None:
    """Return the verdict in out/gate; None if the tenant was never judged. Raises GateError if the file is broken."""
    path = workspace.get_output_folder("gate", tenant) / VERDICT_FILE
    return read_verdict(path) if path.is_file() else None


def gather_results(workspace: Workspace) -> None:
    """Remove the verdicts of tenants that have no data; write all others to out/gate/verdicts.json."""
    tenants = workspace.list_tenants()
    remove_departed(workspace.get_output_folder("gate"), tenants)
    verdicts = {tenant: read_last_verdict(workspace, tenant) for tenant in tenants}
    summary = {
        tenant: {"accepted": verdict.accepted, "sentence": verdict.sentence}
        for tenant, verdict in verdicts.items()
        if verdict is not None
    }
    write_json(workspace.get_output_folder("gate") / VERDICTS_FILE, summary)
    workspace.save_digests()
