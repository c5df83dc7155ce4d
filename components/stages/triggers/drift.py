"""Compares the requests that servers counted with the training data, and opens a cause where they have drifted.

A champion's profile is made here, from its training data, once it serves: a server counts only with a profile.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from components.config.triggers import DriftConfig
from components.data.digests import compute_tenant_digest
from components.errors import PrefixFleetError
from components.registry.manifest import read_manifest
from components.registry.mlflow.versions import CHAMPION, Version
from components.rollout.policy.input_drift import InputDrift, compute_input_drift
from components.rollout.policy.input_profile import InputCounts, InputProfile, make_input_profile
from components.rollout.store.causes import Cause, open_causes
from components.rollout.store.inputs import (
    InputVersion,
    list_profiled,
    read_inputs,
    read_profiles,
    write_profiles,
)
from components.rollout.store.ledger import write_entries
from components.rollout.types import LedgerEntry
from components.stages.notifications import announce
from components.stages.progress import log_info, log_warning
from components.stages.splits import read_splits
from components.stages.workspace import Workspace

_ACTOR = "watch"
_PROFILES_PER_LOOK = 500


def look_for_drift(workspace: Workspace, now_s: Callable[[], float] = time.time) -> list[Cause]:
    """Make missing profiles, and open a cause for each tenant whose requests have drifted; return the new ones.

    With action "event" the cause is closed at once. `now_s` returns seconds since 1970.

    Raises:
        RegistryError: MLflow does not answer.
        WorkspaceError: the database does not answer.
    """
    config = workspace.params.triggers.drift
    if config is None:
        return []
    champions = workspace.registry.poll_aliased(CHAMPION)[CHAMPION]
    make_profiles(workspace, champions)
    hour, opened = int(now_s() // 3600), []
    for tenant, drift in read_drift(workspace, champions, now_s).items():
        if drift.score >= config.threshold:
            opened += _open_cause(workspace, config, champions[tenant], drift, hour)
    return opened


def read_drift(
    workspace: Workspace, champions: Mapping[str, Version], now_s: Callable[[], float] = time.time
) -> dict[str, InputDrift]:
    """Return tenant -> the score of its requests to its champion in the window; only tenants with enough requests.

    Raises WorkspaceError.
    """
    config = workspace.params.triggers.drift
    if config is None:
        return {}
    seen = read_inputs(workspace.database, int(now_s() // 3600) - config.window_hours + 1)
    present = {InputVersion(tenant, one.sha256) for tenant, one in champions.items()}
    enough = {key: row for key, row in seen.items() if key in present and row.counts["inputs"] >= config.min_requests}
    profiles = read_profiles(workspace.database, enough)
    return {
        key.tenant: compute_input_drift(
            InputProfile.from_json(profile), InputCounts(**enough[key].counts, lengths=enough[key].lengths)
        )
        for key, profile in profiles.items()
    }


def make_profiles(workspace: Workspace, champions: Mapping[str, Version]) -> list[str]:
    """Make the profiles of champions that have none and whose training data are still here; return their tenants.

    Raises WorkspaceError.
    """
    known = list_profiled(workspace.database)
    keys = [InputVersion(tenant, one.sha256) for tenant, one in champions.items()]
    made = {}
    for key in [one for one in keys if one not in known][:_PROFILES_PER_LOOK]:
        if profile := _make_profile(workspace, key):
            made[key] = profile.to_json()
    write_profiles(workspace.database, made)
    workspace.save_digests()
    return [key.tenant for key in made]


def _make_profile(workspace: Workspace, key: InputVersion) -> InputProfile | None:
    """Return None if the data that the champion was trained on are not the present ones."""
    try:
        manifest = read_manifest(workspace.get_output_folder("train", key.tenant))
        present = compute_tenant_digest(workspace.data, key.tenant, workspace.digests.digest_file)
        if (manifest.sha256, manifest.data_digest) != (key.sha256, present):
            return None
        splits = read_splits(workspace, key.tenant)
    except PrefixFleetError as problem:
        log_warning(f"{key.tenant}: no profile of its training inputs: {problem}")
        return None
    held_out = [one.source for split in ("validation", "test") for one in splits[split]]
    return make_input_profile([one.source for one in splits["train"]], held_out)


def _open_cause(
    workspace: Workspace, config: DriftConfig, champion: Version, drift: InputDrift, hour: int
) -> list[Cause]:
    """Open the cause of one tenant in this window, with its line in the ledger and its event; [] if it is known."""
    tenant, window = champion.tenant, hour // config.window_hours
    cause = Cause(
        tenant=tenant,
        id=f"drift-{champion.sha256[:24]}-{config.window_hours}h-{window}",
        kind="drift",
        why=drift.sentence,
    )
    if config.action == "event":
        cause = replace(cause, closed_at=datetime.now(UTC).isoformat(timespec="seconds"), result="an event")
    entry = LedgerEntry(
        tenant=tenant,
        by=_ACTOR,
        action="drift",
        from_version=champion.version,
        to_version=champion.version,
        why=drift.sentence,
        figures={**drift.to_json(), "threshold": config.threshold, "cause": cause.id},
    )
    with workspace.database.transaction("to record drifted requests") as connection:
        if not (opened := open_causes(connection, [cause])):
            return []
        write_entries(connection, entry)
        announce(workspace, connection, entry)
    log_info(f"{tenant}: {drift.sentence}")
    return opened
