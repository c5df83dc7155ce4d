"""From verdicts to MLflow: what was accepted becomes a version, and a new version champion or challenger, by policy.

The alias in MLflow is the truth. A version that has been champion before is not made champion again just because its
files still lie in out/: somebody may have moved the alias away from it on purpose. Not a DVC stage, since it changes
what lies outside the workspace. Does not know how prefixes are trained or judged.
"""

from collections.abc import Collection, Mapping

from components.data.linearization import detect_form
from components.errors import PrefixFleetError
from components.evaluation.gate import Verdict
from components.evaluation.report import read_report
from components.registry.manifest import Manifest
from components.registry.registry import CHAMPION, Registration, RunLog, Version, read_curves
from components.rollout.types import RolloutState
from components.stages.evaluate import PREDICTIONS_FILE, REPORT_FILE
from components.stages.gate import VERDICT_FILE, read_last_verdict
from components.stages.outcome import TenantOutcome, catch_failure
from components.stages.plan import read_planned_manifest
from components.stages.progress import log_info, log_warning
from components.stages.rollout.tenant_lock import lock_tenant
from components.stages.rollout.transitions import (
    PROMOTED_TAG,
    TAKEN_BACK_TAG,
    make_champion,
    read_rollout_config,
    start_trial,
)
from components.stages.splits import read_tenant_split
from components.stages.stamps import read_json
from components.stages.train import LOSS_FILE, TRAINING_FILE
from components.stages.workspace import Workspace

_REASON = "it passed the gate"


def register(workspace: Workspace, fingerprints: Mapping[str, str]) -> tuple[dict[str, Version], list[TenantOutcome]]:
    """Make a version of every accepted prefix that is not champion already; returns them and what failed.

    `fingerprints` are those that a plan gives the tenants' prefixes; a tenant with another prefix fails. A prefix that
    is registered already gets no second version.

    Raises:
        RegistryError: MLflow cannot be reached at all.

    """
    champions = workspace.registry.poll_aliased(CHAMPION)[CHAMPION]
    failures: list[TenantOutcome] = []
    wanted = [
        _make_registration(workspace, manifest, verdict)
        for manifest, verdict in _find_judged(workspace, fingerprints, failures)
        if verdict.accepted and _get_sha256(champions.get(manifest.tenant)) != manifest.sha256
    ]
    results = workspace.registry.register_all(wanted) if wanted else {}
    versions = {tenant: result for tenant, result in results.items() if isinstance(result, Version)}
    troubles = {tenant: result for tenant, result in results.items() if isinstance(result, PrefixFleetError)}
    for tenant, problem in troubles.items():
        log_warning(f"{tenant}: not registered: {problem}")
        failures.append(TenantOutcome(tenant, "register", "failed", str(problem)))
    return versions, failures


def record_rejected(workspace: Workspace, fingerprints: Mapping[str, str]) -> None:
    """Write a run without a version into MLflow for each of these tenants whose prefix was rejected.

    `fingerprints` as for `register`; a tenant with another prefix is left out.
    """
    for manifest, verdict in _find_judged(workspace, fingerprints, []):
        if not verdict.accepted:
            workspace.registry.log_run(manifest.tenant, _make_run_log(workspace, manifest, verdict))


def roll_out(
    workspace: Workspace, versions: dict[str, Version], outdated: Collection[str]
) -> tuple[dict[str, str], list[TenantOutcome]]:
    """Bring new versions to their tenants by policy: champions at once, or challengers on trial.

    A tenant without a champion has nothing to lose: its first version is champion at once, unless the policy is manual.
    A version that was champion before, or was taken back, is left alone, also when its files had to be made again,
    unless its tenant was `outdated`: trained in this run because data, parameters or base changed (perhaps back to what
    they were). Returns tenant -> version for those that became champion, and those that failed.
    """
    promoted: dict[str, str] = {}
    troubles: list[TenantOutcome] = []
    for tenant, version in versions.items():
        with catch_failure(tenant, "roll out", troubles), lock_tenant(workspace, tenant) as now:
            policy, before = read_rollout_config(workspace, tenant).policy, now.state
            if before.champion == version.version:  # made so by an attempt that failed later
                promoted[tenant] = version.version
            elif reason := _explain_no_alias(version, before, tenant in outdated):
                log_info(f"{tenant}: version {version.version} {reason}")
            elif policy == "immediate" or (not before.champion and policy != "manual"):
                promoted[tenant] = make_champion(now, version.version, "retrain", _REASON).champion
            elif before.challenger != version.version:
                start_trial(now, version.version, "retrain", _REASON)
    return promoted, troubles


def _explain_no_alias(version: Version, standing: RolloutState, outdated: bool) -> str:
    """Why a version stays without an alias; "" where it does not."""
    if standing.pinned:
        return f"waits while version {standing.champion} is pinned; `prefixfleet pin {version.tenant} --off` lets it go"
    if not outdated and PROMOTED_TAG in version.tags:
        return "was champion before and is left alone; `prefixfleet promote`s it"
    if not outdated and TAKEN_BACK_TAG in version.tags:
        return "was taken back before and is left alone; `prefixfleet promote`s it"
    return ""


def _find_judged(
    workspace: Workspace, fingerprints: Mapping[str, str], failures: list[TenantOutcome]
) -> list[tuple[Manifest, Verdict]]:
    """Each tenant's manifest and verdict where both are on the prefix with this fingerprint."""
    found = []
    for tenant, fingerprint in sorted(fingerprints.items()):
        with catch_failure(tenant, "register", failures):
            manifest = read_planned_manifest(workspace, tenant, fingerprint)
            verdict = read_last_verdict(workspace, tenant)
            if verdict is not None and verdict.prefix_digest == manifest.sha256:
                found.append((manifest, verdict))
    return found


def _make_registration(workspace: Workspace, manifest: Manifest, verdict: Verdict) -> Registration:
    base, evaluate = workspace.params.base, workspace.params.for_tenant(manifest.tenant).evaluate
    return Registration(
        tenant=manifest.tenant,
        artifact=workspace.get_output_folder("train", manifest.tenant),
        base_path=base.path,
        revision=base.revision,
        dtype=base.dtype,
        tags={
            "verdict": "accepted",
            "verdict_sentence": verdict.sentence,
            "record_form": detect_form(
                example.source for example in read_tenant_split(workspace, manifest.tenant, "train")
            )
            or "",
        },
        run_log=_make_run_log(workspace, manifest, verdict),
        decoding=evaluate.select_decoding(),
    )


def _make_run_log(workspace: Workspace, manifest: Manifest, verdict: Verdict) -> RunLog:
    tenant = manifest.tenant
    trained, evaluated = workspace.get_output_folder("train", tenant), workspace.get_output_folder("evaluate", tenant)
    params = workspace.params.for_tenant(tenant)
    measured = read_json(trained / TRAINING_FILE) or {}
    scores = {
        f"{name}{score.metric}": score.value
        for name, folder in (("", evaluated), ("base_", evaluated / "base"))
        for score in read_report(folder / REPORT_FILE).slices["all"]
    }
    return RunLog(
        params={
            "base": manifest.base_name,
            "train": manifest.train,
            "evaluate": params.evaluate.model_dump(mode="json"),
            "gate": params.gate.model_dump(mode="json"),
        },
        metrics={**scores, **{name: float(value) for name, value in measured.items()}},
        curves=read_curves(trained / LOSS_FILE),
        dataset_version=manifest.dataset_version,
        tags={"verdict": "accepted" if verdict.accepted else "rejected", "fingerprint": manifest.fingerprint},
        files=[
            evaluated / REPORT_FILE,
            evaluated / PREDICTIONS_FILE,
            workspace.get_output_folder("gate", tenant) / VERDICT_FILE,
        ],
    )


def _get_sha256(version: Version | None) -> str | None:
    return version.sha256 if version else None
