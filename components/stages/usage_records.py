"""Records trainings and the bytes of versions as usage. Records a training once, from the figures beside its artifact.

The figures stay on disk until the tenant's next training, so what a killed run, or one whose database failed, has not
recorded is recorded by the next run. Does not know prices.
"""

from collections.abc import Iterable

from components.errors import WorkspaceError
from components.registry.mlflow.versions import ARTIFACT_BYTES_TAG, OWNER_TAG
from components.rollout.store.usage import SECONDS_PER_DAY
from components.rollout.store.usage_records import Training, add_trainings, was_looked_at, write_stored_bytes
from components.stages.progress import log_warning
from components.stages.stamps import ENDED_FIELD, TRAINING_FILE, read_json
from components.stages.workspace import Workspace
from components.usage.periods import get_today, to_day


def record_trainings(workspace: Workspace, tenants: Iterable[str]) -> None:
    """Record the last training of each tenant, unless it is recorded. A database that fails is only a warning.

    Call it before these tenants are trained again, and after that.
    """
    found = (_read_training(workspace, tenant) for tenant in tenants)
    try:
        add_trainings(workspace.database, [one for one in found if one is not None])
    except WorkspaceError as problem:
        log_warning(f"the usage of trainings will be recorded by the next run: {problem}")


def record_stored_bytes(workspace: Workspace, *, once: bool = False) -> None:
    """Record the bytes of each tenant's versions today; with `once`, unless a look today was recorded before.

    Versions of other workspaces are left out. A version that an earlier release registered counts nothing.

    Raises:
        RegistryError: MLflow does not answer.
        WorkspaceError: the database does not answer.
    """
    day = to_day(get_today())
    if once and was_looked_at(workspace.database, day):
        return
    registry = workspace.registry
    stored = {
        tenant: sum(
            int(version.tags.get(ARTIFACT_BYTES_TAG, 0)) for version in versions if not registry.is_foreign(version)
        )
        for tenant, versions in registry.find_histories(ARTIFACT_BYTES_TAG, OWNER_TAG).items()
    }
    write_stored_bytes(workspace.database, day, stored, once=once)


def _read_training(workspace: Workspace, tenant: str) -> Training | None:
    """Return the figures of the training in out/train; None: there is none, or it is of an earlier release."""
    measured = read_json(workspace.get_output_folder("train", tenant) / TRAINING_FILE)
    ended_s = measured.get(ENDED_FIELD) if isinstance(measured, dict) else None
    if not isinstance(ended_s, int | float):
        return None
    return Training(
        tenant=tenant,
        id=f"{ended_s:.6f}",
        day=int(ended_s // SECONDS_PER_DAY),
        device_us=round(1e6 * float(measured.get("seconds", 0.0))),
        tokens=int(measured.get("tokens", 0)),
    )
