"""From verdicts to MLflow: what was accepted becomes a version, and a new version becomes champion.

The alias in MLflow is the truth. A version that has been champion before is not made champion again just because its
files still lie in out/: somebody may have moved the alias away from it on purpose. Not a DVC stage, since it changes
what lies outside the workspace. Does not know how prefixes are trained or judged.
"""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from components.data.records import form_of
from components.errors import PrefixFleetError, RegistryError
from components.evaluation.gate import Verdict
from components.evaluation.report import read_report
from components.registry.manifest import Manifest, read_manifest
from components.registry.tracking import CHAMPION, Registration, RunLog, Version, read_curves
from components.stages.evaluate import PREDICTIONS_FILE, REPORT_FILE
from components.stages.examples import read_one
from components.stages.gate import VERDICT_FILE, last_verdict
from components.stages.outcome import Outcome
from components.stages.plan import plan
from components.stages.progress import tell, warn
from components.stages.records import read_json
from components.stages.train import LOSS_FILE, TRAINING_FILE
from components.stages.workspace import Workspace

PROMOTED = "promoted"
"""Tag of a version that has been champion: when, in UTC."""


def register(workspace: Workspace, tenants: Sequence[str]) -> tuple[dict[str, Version], list[Outcome]]:
    """Make a version of every accepted prefix that is not champion already; returns them and what failed.

    A prefix that is registered already gets no second version.

    Raises:
        RegistryError: MLflow cannot be reached at all.

    """
    champions = workspace.registry.champions()
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


def roll_out(workspace: Workspace, versions: dict[str, Version], outdated: Collection[str]) -> dict[str, str]:
    """Make the versions champions, at once; returns tenant -> version for those that became it.

    A version that was champion before is left alone, also when its files had to be made again, unless its tenant was
    `outdated`: trained in this run because data, parameters or base changed (perhaps back to what they were).
    """
    promoted = {}
    for tenant, version in versions.items():
        if PROMOTED in version.tags and tenant not in outdated:
            tell(
                f"{tenant}: version {version.version} was champion before and is left alone; `prefixfleet promote`s it"
            )
            continue
        make_champion(workspace, version)
        promoted[tenant] = version.version
    return promoted


def make_champion(workspace: Workspace, version: Version) -> None:
    """Give a version the alias and remember that it had it."""
    workspace.registry.set_alias(version.tenant, CHAMPION, version.version)
    workspace.registry.set_tags(version, {PROMOTED: datetime.now(UTC).isoformat(timespec="seconds")})
    tell(f"{version.tenant}: version {version.version} is champion")


def promote(workspace: Workspace, tenant: str, number: str | None = None) -> Version:
    """Make a version, or the newest, champion by hand.

    Raises:
        RegistryError: the tenant has no versions, or not this one.

    """
    versions = workspace.registry.versions(tenant)
    found = [version for version in versions if number is None or version.version == number]
    if not found:
        known = ", ".join(version.version for version in versions) or "none"
        wanted = f"version {number} of {tenant}" if number else f"a version of {tenant}"
        raise RegistryError(wanted, f"versions: {known}", "register one (`prefixfleet retrain`) or name one of these")
    make_champion(workspace, found[0])
    return found[0]


def rollback(workspace: Workspace, tenant: str) -> Version:
    """Make the version champion that was it before today's.

    Raises:
        RegistryError: there is no champion, or none before it.

    """
    versions = workspace.registry.versions(tenant)
    champion = next((version for version in versions if CHAMPION in version.aliases), None)
    if champion is None:
        raise RegistryError(f"a champion of {tenant} to roll back from", "none", "see `prefixfleet status`")
    earlier = [version for version in versions if int(version.version) < int(champion.version)]
    former = [version for version in earlier if PROMOTED in version.tags]
    if not former:
        wanted = f"a champion of {tenant} before version {champion.version}"
        raise RegistryError(wanted, "none", f"name a version: prefixfleet promote {tenant} --version N")
    make_champion(workspace, former[0])
    return former[0]


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
