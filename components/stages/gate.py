"""Stage `gate`: a verdict for every evaluated tenant in out/gate/<tenant>/verdict.json.

Reads reports and predictions only, never a model or the registry, so it can be run again with other floors in seconds.
"""

from collections.abc import Sequence
from pathlib import Path

from components.errors import GateError
from components.evaluation.gate import Scored, Verdict, judge, read_verdict, write_verdict
from components.evaluation.report import read_predictions, read_report
from components.stages.evaluate import PREDICTIONS_FILE, REPORT_FILE
from components.stages.outcome import Outcome, attempt
from components.stages.progress import tell
from components.stages.stamps import read_json, remove_others, stands, write_json, write_stamp
from components.stages.workspace import Workspace

VERDICT_FILE = "verdict.json"
VERDICTS_FILE = "verdicts.json"


def run(workspace: Workspace, tenants: Sequence[str] | None = None) -> list[Outcome]:
    """Judge every (or the named) tenant; a rejected prefix is a verdict, not a failure."""
    outcomes = [judge_or_tell(workspace, tenant) for tenant in workspace.tenants(tenants)]
    finish(workspace)
    return outcomes


def judge_or_tell(workspace: Workspace, tenant: str) -> Outcome:
    """Judge one tenant; trouble that its owner can mend becomes a failed outcome."""
    return attempt(tenant, "gate", lambda: judge_tenant(workspace, tenant))


def judge_tenant(workspace: Workspace, tenant: str) -> Outcome:
    """Put one tenant's report to the gate and write its verdict.

    Raises:
        GateError: nothing was evaluated, or the reports cannot be compared.

    """
    params = workspace.params.for_tenant(tenant)
    evaluated, folder = workspace.out("evaluate", tenant), workspace.out("gate", tenant)
    if not (evaluated / REPORT_FILE).is_file():
        raise GateError(
            f"a report on {tenant}'s prefix", f"none in {evaluated}", "evaluate first (`prefixfleet retrain`)"
        )
    champion = evaluated / "champion" if (evaluated / "champion" / "version.json").is_file() else None
    version = read_json(champion / "version.json")["version"] if champion else None
    of = workspace.digests.of
    inputs = {
        "candidate": [of(evaluated / name) for name in (REPORT_FILE, PREDICTIONS_FILE)],
        "champion": [of(champion / name) for name in (REPORT_FILE, PREDICTIONS_FILE)] if champion else None,
        "champion_version": version,
        "gate": params.gate.model_dump(mode="json"),
        "lowercase": params.evaluate.lowercase,
    }
    if stands(folder, inputs, of):
        return Outcome(tenant, "gate", "stood", read_verdict(folder / VERDICT_FILE).sentence)
    verdict = judge(
        _scored(evaluated),
        _scored(champion) if champion else None,
        params.gate,
        params.evaluate.lowercase,
        champion_version=version,
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_verdict(folder / VERDICT_FILE, verdict)
    write_stamp(folder, inputs, [VERDICT_FILE])
    tell(f"{tenant}: {verdict.sentence}")
    return Outcome(tenant, "gate", "done", verdict.sentence)


def last_verdict(workspace: Workspace, tenant: str) -> Verdict | None:
    """The verdict in out/gate, or None where the gate has not seen the tenant. Raises GateError when it is broken."""
    path = workspace.out("gate", tenant) / VERDICT_FILE
    return read_verdict(path) if path.is_file() else None


def finish(workspace: Workspace) -> None:
    """Remove what belongs to tenants that have left, and gather the verdicts in out/gate/verdicts.json."""
    tenants = workspace.tenants()
    remove_others(workspace.out("gate"), tenants)
    verdicts = {tenant: last_verdict(workspace, tenant) for tenant in tenants}
    told = {
        tenant: {"accepted": verdict.accepted, "sentence": verdict.sentence}
        for tenant, verdict in verdicts.items()
        if verdict is not None
    }
    write_json(workspace.out("gate") / VERDICTS_FILE, told)
    workspace.remember()


def _scored(folder: Path) -> Scored:
    return Scored(read_report(folder / REPORT_FILE), read_predictions(folder / PREDICTIONS_FILE))
