"""From verdicts to MLflow: what was accepted becomes a version, and a new version champion or challenger, by policy.

The alias in MLflow is the truth. A version that has been champion before is not made champion again just because its
files still lie in out/: somebody may have moved the alias away from it on purpose. Not a DVC stage, since it changes
what lies outside the workspace. Does not know how prefixes are trained or judged.
"""

from collections.abc import Collection, Sequence

from components.data.linearization import form_of
from components.errors import PrefixFleetError
from components.evaluation.gate import Verdict
from components.evaluation.report import read_report
from components.registry.manifest import Manifest, read_manifest
from components.registry.registry import CHAMPION, Registration, RunLog, Version, read_curves
from components.rollout.types import Standing
from components.stages.evaluate import PREDICTIONS_FILE, REPORT_FILE
from components.stages.gate import VERDICT_FILE, last_verdict
from components.stages.outcome import Outcome, apart
from components.stages.plan import plan
from components.stages.progress import tell, warn
from components.stages.rollout.tenant_lock import turn
from components.stages.rollout.transitions import PROMOTED, TAKEN_BACK, challenge, config_of, make_champion
from components.stages.splits import read_one
from components.stages.stamps import read_json
from components.stages.train import LOSS_FILE, TRAINING_FILE
from components.stages.workspace import Workspace

_WHY = "it passed the gate"


def register(workspace: Workspace, tenants: Sequence[str]) -> tuple[dict[str, Version], list[Outcome]]:
    """Make a version of every accepted prefix that is not champion already; returns them and what failed.

    A prefix that is registered already gets no second version.

    Raises:
        RegistryError: MLflow cannot be reached at all.

    """
    champions = workspace.registry.standing(CHAMPION)[CHAMPION]
    wanted = [
        _registration(workspace, manifest, verdict)
        for manifest, verdict in _judged(workspace, tenants)
        if verdict.accepted and _sha256(champions.get(manifest.tenant)) != manifest.sha256
    ]
    results = workspace.registry.register_all(wanted) if wanted else {}
    versions = {tenant: result for tenant, result in results.items() if isinstance(result, Version)}
    troubles = {tenant: result for tenant, result in results.items() if isinstance(result, PrefixFleetError)}
    for tenant, problem in troubles.items():
        warn(f"{tenant}: not registered: {problem}")
    return versions, [Outcome(tenant, "register", "failed", str(problem)) for tenant, problem in troubles.items()]


def note_rejected(workspace: Workspace, tenants: Sequence[str]) -> None:
    """Write a run without a version into MLflow for each of these tenants whose prefix was rejected."""
    for manifest, verdict in _judged(workspace, tenants):
        if not verdict.accepted:
            workspace.registry.log_run(manifest.tenant, _run_log(workspace, manifest, verdict))


def roll_out(
    workspace: Workspace, versions: dict[str, Version], outdated: Collection[str]
) -> tuple[dict[str, str], list[Outcome]]:
    """Bring new versions to their tenants by policy: champions at once, or challengers on trial.

    A tenant without a champion has nothing to lose: its first version is champion at once, unless the policy is manual.
    A version that was champion before, or was taken back, is left alone, also when its files had to be made again,
    unless its tenant was `outdated`: trained in this run because data, parameters or base changed (perhaps back to what
    they were). Returns tenant -> version for those that became champion, and those that failed.
    """
    promoted: dict[str, str] = {}
    troubles: list[Outcome] = []
    for tenant, version in versions.items():
        with apart(tenant, "roll out", troubles), turn(workspace, tenant) as now:
            policy, before = config_of(workspace, tenant).policy, now.standing
            if before.champion == version.version:  # made so by an attempt that failed later
                promoted[tenant] = version.version
            elif reason := _left_alone(version, before, tenant in outdated):
                tell(f"{tenant}: version {version.version} {reason}")
            elif policy == "immediate" or (not before.champion and policy != "manual"):
                promoted[tenant] = make_champion(now, version.version, "retrain", _WHY).champion
            elif before.challenger != version.version:
                challenge(now, version.version, "retrain", _WHY)
    return promoted, troubles


def _left_alone(version: Version, standing: Standing, outdated: bool) -> str:
    """Why a version stays without an alias; "" where it does not."""
    if standing.pinned:
        return f"waits while version {standing.champion} is pinned; `prefixfleet pin {version.tenant} --off` lets it go"
    if not outdated and PROMOTED in version.tags:
        return "was champion before and is left alone; `prefixfleet promote`s it"
    if not outdated and TAKEN_BACK in version.tags:
        return "was taken back before and is left alone; `prefixfleet promote`s it"
    return ""


def _judged(workspace: Workspace, tenants: Sequence[str]) -> list[tuple[Manifest, Verdict]]:
    """Each tenant's manifest and verdict where both are on the prefix that today's data and parameters ask for."""
    found = []
    for item in plan(workspace, tenants).skipped:
        manifest = read_manifest(workspace.out("train", item.tenant))
        verdict = last_verdict(workspace, item.tenant)
        if verdict is not None and verdict.prefix_digest == manifest.sha256:
            found.append((manifest, verdict))
    return found


def _registration(workspace: Workspace, manifest: Manifest, verdict: Verdict) -> Registration:
    base, evaluate = workspace.params.base, workspace.params.for_tenant(manifest.tenant).evaluate
    return Registration(
        tenant=manifest.tenant,
        artifact=workspace.out("train", manifest.tenant),
        base_path=base.path,
        revision=base.revision,
        dtype=base.dtype,
        tags={
            "verdict": "accepted",
            "verdict_sentence": verdict.sentence,
            "record_form": form_of(example.source for example in read_one(workspace, manifest.tenant, "train")) or "",
        },
        run=_run_log(workspace, manifest, verdict),
        decoding=evaluate.decoding(),
    )


def _run_log(workspace: Workspace, manifest: Manifest, verdict: Verdict) -> RunLog:
    tenant = manifest.tenant
    trained, evaluated = workspace.out("train", tenant), workspace.out("evaluate", tenant)
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
            workspace.out("gate", tenant) / VERDICT_FILE,
        ],
    )


def _sha256(version: Version | None) -> str | None:
    return version.sha256 if version else None
