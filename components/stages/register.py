"""Register accepted prefixes in MLflow, and make new versions champion or challenger according to the policy.

MLflow's aliases are the source of truth. A version that was champion before is not promoted again because its files are
still in out/: a person may have moved the alias away from it. This is no stage of DVC, since it changes things outside
the workspace. Does not know how prefixes are trained or judged.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from types import MappingProxyType

from components.data.kinds import CONVERSATIONS, describe_kind
from components.data.linearization import detect_form
from components.data.schema import ALL_SLICE
from components.errors import PrefixFleetError
from components.evaluation.gate import Verdict
from components.evaluation.report import read_report
from components.otel.spans import open_span
from components.registry.manifest import Manifest
from components.registry.registry import (
    CHAMPION,
    DECODING_TAG,
    INPUT_TAG,
    Registration,
    RunLog,
    Version,
    read_curves,
)
from components.rollout.types import RolloutState
from components.stages.champions import read_judged_decoding, tag_judged_decodings
from components.stages.evaluate import PREDICTIONS_FILE, REPORT_FILE
from components.stages.gate import VERDICT_FILE, read_last_verdict
from components.stages.outcome import TenantOutcome, catch_failure
from components.stages.plan_checks import read_planned_manifest
from components.stages.progress import log_info, log_warning
from components.stages.rollout.actors import Actor
from components.stages.rollout.engine_checks import check_engine
from components.stages.rollout.tenant_lock import lock_tenant
from components.stages.rollout.transitions import (
    PROMOTED_TAG,
    TAKEN_BACK_TAG,
    make_champion,
    read_rollout_config,
    start_trial,
)
from components.stages.splits import read_tenant_split
from components.stages.stamps import ENDED_FIELD, TRAINING_FILE, read_json
from components.stages.train import LOSS_FILE
from components.stages.workspace import Workspace

_ACTOR = Actor("retrain")
CAUSE_TAG = "cause"
"""Tag of a run in MLflow: why the tenant was trained again."""
DescribeCause = Callable[[str], str]
"""Tenant -> why it is trained again in this run; "": unknown."""


def say_nothing(_: str) -> str:
    """Know no cause of any tenant."""
    return ""


def register(
    workspace: Workspace, fingerprints: Mapping[str, str], describe_cause: DescribeCause = say_nothing
) -> tuple[dict[str, Version], list[TenantOutcome]]:
    """Register every accepted prefix that is not the champion already.

    A champion that was accepted again with another decoding is served with that from now on.

    `fingerprints` (tenant -> fingerprint) come from a plan; a tenant whose prefix has another fingerprint fails. A
    prefix that is registered already gets no second version.

    Returns:
        Tenant -> version, and an outcome for every tenant that failed, also if its champion is another workspace's.

    Raises:
        RegistryError: MLflow does not answer.

    """
    champions = workspace.registry.poll_aliased(CHAMPION)[CHAMPION]
    failures: list[TenantOutcome] = []
    registrations: list[Registration] = []
    accepted_again: list[Version] = []
    for manifest, verdict in find_judged(workspace, fingerprints, failures):
        champion = champions.get(manifest.tenant)
        if not verdict.accepted:
            continue
        if champion is not None and champion.sha256 == manifest.sha256:
            accepted_again.append(champion)
        else:
            with catch_failure(manifest.tenant, "register", failures):
                if champion is not None:
                    workspace.registry.ownership.check_version(champion, f"register a prefix of {manifest.tenant}")
                cause = describe_cause(manifest.tenant)
                made = _make_registration(workspace, manifest, verdict, cause)
                registrations.append(replace(made, has_model=champion is not None))
    failures += tag_judged_decodings(workspace, accepted_again)
    results = workspace.registry.register_all(registrations) if registrations else {}
    versions = {tenant: result for tenant, result in results.items() if isinstance(result, Version)}
    for tenant, problem in results.items():
        if isinstance(problem, PrefixFleetError):
            log_warning(f"{tenant}: not registered: {problem}")
            failures.append(TenantOutcome(tenant, "register", "failed", str(problem)))
    return versions, failures


def roll_out(
    workspace: Workspace,
    versions: dict[str, Version],
    outdated: Collection[str],
    describe_cause: DescribeCause = say_nothing,
) -> tuple[dict[str, str], list[TenantOutcome]]:
    """Make new versions champion, or start their trials as challengers, according to the policy.

    A tenant without a champion, or with one that cannot serve, gets the version as champion, unless the policy is
    manual. A version that was
    champion or was rolled back before gets no alias, even if its files were made again, unless its tenant is in
    `outdated`: trained in this run because data, parameters or base changed (perhaps back to earlier ones).

    Returns:
        Tenant -> version for every promotion, and an outcome for every tenant that failed.
    """
    promoted: dict[str, str] = {}
    failures: list[TenantOutcome] = []
    for tenant, version in versions.items():
        number = version.version
        with (
            catch_failure(tenant, "roll out", failures),
            open_span("roll out tenant", tenant=tenant, version=number),
        ):
            number = _roll_out_version(workspace, version, tenant in outdated, describe_cause(tenant))
            if number:
                promoted[tenant] = number
    return promoted, failures


def _roll_out_version(workspace: Workspace, version: Version, outdated: bool, cause: str) -> str:
    """Give a version its alias; return its number if it is champion now, "" otherwise."""
    tenant, number = version.tenant, version.version
    with lock_tenant(workspace, tenant) as lease:
        policy, before = read_rollout_config(workspace, tenant).policy, lease.state
        has_champion = bool(before.champion) and not lease.champion_fault
        reason = "it passed the gate" + (f"; retrained because {cause}" if cause else "")
        if before.champion == number:  # promoted by an earlier attempt, which failed afterwards
            return number
        if obstacle := _explain_no_alias(version, before, outdated):
            log_info(f"{tenant}: version {number} {obstacle}")
        elif policy == "immediate" or (not has_champion and policy != "manual"):
            check_engine(workspace, version)
            return make_champion(lease, number, _ACTOR, reason).champion
        elif before.challenger != number:
            check_engine(workspace, version)
            start_trial(lease, number, _ACTOR, reason)
    return ""


def _explain_no_alias(version: Version, state: RolloutState, outdated: bool) -> str:
    """Return why a version gets no alias; "" if it may get one."""
    if state.pinned:
        fix = f"run `prefixfleet pin {version.tenant} --off` to unpin it"
        return f"gets no alias while version {state.champion} is pinned; {fix}"
    fix = f"run `prefixfleet promote {version.tenant} --version {version.version}` to promote it"
    if not outdated and PROMOTED_TAG in version.tags:
        return f"was champion before and is not promoted again; {fix}"
    if not outdated and TAKEN_BACK_TAG in version.tags:
        return f"was rolled back before and is not promoted; {fix}"
    return ""


def find_judged(
    workspace: Workspace, fingerprints: Mapping[str, str], failures: list[TenantOutcome]
) -> list[tuple[Manifest, Verdict]]:
    """Return manifest and verdict of every tenant whose verdict is about the prefix with its planned fingerprint."""
    judged = []
    for tenant, fingerprint in sorted(fingerprints.items()):
        with catch_failure(tenant, "register", failures):
            manifest = read_planned_manifest(workspace, tenant, fingerprint)
            verdict = read_last_verdict(workspace, tenant)
            if verdict is not None and verdict.prefix_digest == manifest.sha256:
                judged.append((manifest, verdict))
    return judged


def _make_registration(workspace: Workspace, manifest: Manifest, verdict: Verdict, cause: str) -> Registration:
    base, evaluate = workspace.params.base, workspace.params.for_tenant(manifest.tenant).evaluate
    kind = workspace.digests.digest_folder(workspace.data / manifest.tenant, describe_kind)
    return Registration(
        tenant=manifest.tenant,
        artifact=workspace.get_output_folder("train", manifest.tenant),
        base_path=base.path,
        revision=base.revision,
        dtype=base.dtype,
        quantize=base.quantize,
        tags={
            "verdict": "accepted",
            "verdict_sentence": verdict.sentence,
            "record_form": "" if kind == CONVERSATIONS else _detect_record_form(workspace, manifest.tenant),
            INPUT_TAG: kind,
            DECODING_TAG: read_judged_decoding(workspace, manifest.tenant),
        },
        run_log=make_run_log(workspace, manifest, verdict, {CAUSE_TAG: cause}),
        decoding=evaluate.select_decoding(),
    )


def _detect_record_form(workspace: Workspace, tenant: str) -> str:
    return detect_form(example.source for example in read_tenant_split(workspace, tenant, "train")) or ""


def make_run_log(
    workspace: Workspace, manifest: Manifest, verdict: Verdict, tags: Mapping[str, str] = MappingProxyType({})
) -> RunLog:
    """Return what MLflow's run of a judged prefix holds; `tags` are added to those of the verdict."""
    tenant = manifest.tenant
    trained, evaluated = workspace.get_output_folder("train", tenant), workspace.get_output_folder("evaluate", tenant)
    params = workspace.params.for_tenant(tenant)
    measured = read_json(trained / TRAINING_FILE) or {}
    scores = {
        f"{name}{score.metric}": score.value
        for name, folder in (("", evaluated), ("base_", evaluated / "base"))
        for score in read_report(folder / REPORT_FILE).slices[ALL_SLICE]
    }
    return RunLog(
        params={
            "base": manifest.base_name,
            "train": manifest.train,
            "evaluate": params.evaluate.model_dump(mode="json"),
            "gate": params.gate.model_dump(mode="json"),
        },
        metrics={**scores, **{name: float(value) for name, value in measured.items() if name != ENDED_FIELD}},
        curves=read_curves(trained / LOSS_FILE),
        dataset_version=manifest.dataset_version,
        tags={"verdict": "accepted" if verdict.accepted else "rejected", "fingerprint": manifest.fingerprint, **tags},
        files=[
            evaluated / REPORT_FILE,
            evaluated / PREDICTIONS_FILE,
            workspace.get_output_folder("gate", tenant) / VERDICT_FILE,
        ],
    )
