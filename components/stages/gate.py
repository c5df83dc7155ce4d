"""Stage `gate`: a verdict for every evaluated tenant in out/gate/<tenant>/verdict.json.

Reads reports and predictions only, never a model or the registry, so it can be run again with other floors in seconds.
"""

from collections.abc import Sequence
from pathlib import Path

from components.errors import GateError
from components.evaluation.gate import ReportWithPredictions, Verdict, judge_candidate, read_verdict, write_verdict
from components.evaluation.report import read_predictions, read_report
from components.stages.evaluate import PREDICTIONS_FILE, REPORT_FILE
from components.stages.outcome import TenantOutcome, attempt
from components.stages.progress import log_info
from components.stages.stamps import is_up_to_date, read_json, remove_departed, write_json, write_stamp
from components.stages.workspace import Workspace

VERDICT_FILE = "verdict.json"
VERDICTS_FILE = "verdicts.json"


def run(workspace: Workspace, tenants: Sequence[str] | None = None) -> list[TenantOutcome]:
    """Judge every (or the named) tenant; a rejected prefix is a verdict, not a failure."""
    outcomes = [try_judge_tenant(workspace, tenant) for tenant in workspace.list_tenants(tenants)]
    gather_results(workspace)
    return outcomes


def try_judge_tenant(workspace: Workspace, tenant: str) -> TenantOutcome:
    """Judge one tenant; trouble that its owner can mend becomes a failed outcome."""
    return attempt(tenant, "gate", lambda: judge_tenant(workspace, tenant))


def judge_tenant(workspace: Workspace, tenant: str) -> TenantOutcome:
    """Put one tenant's report to the gate and write its verdict.

    Raises:
        GateError: nothing was evaluated, or the reports cannot be compared.

    """
    params = workspace.params.for_tenant(tenant)
    evaluated, folder = workspace.get_output_folder("evaluate", tenant), workspace.get_output_folder("gate", tenant)
    if not (evaluated / REPORT_FILE).is_file():
        raise GateError(
            f"a report on {tenant}'s prefix", f"none in {evaluated}", "evaluate first (`prefixfleet retrain`)"
        )
    champion = evaluated / "champion" if (evaluated / "champion" / "version.json").is_file() else None
    version = read_json(champion / "version.json")["version"] if champion else None
    of = workspace.digests.digest_file
    inputs = {
        "candidate": [of(evaluated / name) for name in (REPORT_FILE, PREDICTIONS_FILE)],
        "champion": [of(champion / name) for name in (REPORT_FILE, PREDICTIONS_FILE)] if champion else None,
        "champion_version": version,
        "gate": params.gate.model_dump(mode="json"),
        "lowercase": params.evaluate.lowercase,
    }
    if is_up_to_date(folder, inputs, of):
        return TenantOutcome(tenant, "gate", "stood", read_verdict(folder / VERDICT_FILE).sentence)
    verdict = judge_candidate(
        _read_scored(evaluated),
        _read_scored(champion) if champion else None,
        params.gate,
        params.evaluate.lowercase,
        champion_version=version,
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_verdict(folder / VERDICT_FILE, verdict)
    write_stamp(folder, inputs, [VERDICT_FILE])
    log_info(f"{tenant}: {verdict.sentence}")
    return TenantOutcome(tenant, "gate", "done", verdict.sentence)


def read_last_verdict(workspace: Workspace, tenant: str) -> Verdict | None:
    """The verdict in out/gate, or None where the gate has not seen the tenant. Raises GateError when it is broken."""
    path = workspace.get_output_folder("gate", tenant) / VERDICT_FILE
    return read_verdict(path) if path.is_file() else None


def gather_results(workspace: Workspace) -> None:
    """Remove what belongs to tenants that have left, and gather the verdicts in out/gate/verdicts.json."""
    tenants = workspace.list_tenants()
    remove_departed(workspace.get_output_folder("gate"), tenants)
    verdicts = {tenant: read_last_verdict(workspace, tenant) for tenant in tenants}
    told = {
        tenant: {"accepted": verdict.accepted, "sentence": verdict.sentence}
        for tenant, verdict in verdicts.items()
        if verdict is not None
    }
    write_json(workspace.get_output_folder("gate") / VERDICTS_FILE, told)
    workspace.save_digests()


def _read_scored(folder: Path) -> ReportWithPredictions:
    return ReportWithPredictions(read_report(folder / REPORT_FILE), read_predictions(folder / PREDICTIONS_FILE))
