"""The last failure of each tenant, in var/failures/<tenant>.json, until a later success in the same stage removes it.

A run's failures are otherwise only in its output, and in Prefect's records. Does not know what the stages do.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from components.config import TENANT_ID
from components.stages.outcome import TenantOutcome
from components.stages.stamps import read_json, write_json
from components.stages.workspace import Workspace
from components.storage.atomic_files import convert_disk_errors

_DROP_STAGE = "version"
_STAGE_ORDER = ("train", "evaluate", "gate", "register", "roll out")
"""A success in a stage means that the earlier ones succeeded too. `version` is apart: a drop may be refused while the
data of the last version are trained."""


@dataclass(frozen=True, slots=True)
class LastFailure:
    """A tenant's last failure."""

    stage: str
    reason: str
    at: str
    """UTC, ISO 8601."""


def record_outcomes(
    workspace: Workspace, outcomes: Iterable[TenantOutcome], *, implies_earlier_stages: bool = True
) -> None:
    """Save the failures of a run or a stage; remove those of tenants that now succeeded, and of drops that are gone.

    `implies_earlier_stages`: a success means that the stages before it succeeded with the same prefix. This does not
    hold for a rollout cycle, which moves versions of earlier runs.

    Raises WorkspaceError.
    """
    everyone = list(outcomes)
    failures = {one.tenant: one for one in everyone if one.state == "failed" and TENANT_ID.fullmatch(one.tenant)}
    passed: dict[str, set[str]] = {}
    for one in everyone:
        if one.state != "failed":
            passed.setdefault(one.tenant, set()).add(one.stage)
    with convert_disk_errors(f"save the last failures in {_get_folder(workspace)}"):
        for tenant, known in read_failures(workspace).items():
            stages = passed.get(tenant, set())
            is_solved = known.stage in stages or (
                implies_earlier_stages and any(_is_later(stage, known.stage) for stage in stages)
            )
            is_gone = known.stage == _DROP_STAGE and not (workspace.drops / tenant).exists()
            if tenant not in failures and (is_solved or is_gone):
                _get_file(workspace, tenant).unlink(missing_ok=True)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        for tenant, one in failures.items():
            write_json(_get_file(workspace, tenant), asdict(LastFailure(one.stage, one.detail, now)))


def read_failures(workspace: Workspace) -> dict[str, LastFailure]:
    """Return tenant -> its last failure; only tenants that have one. A broken file counts as none."""
    folder = _get_folder(workspace)
    found = {path.stem: read_json(path) for path in sorted(folder.glob("*.json"))} if folder.is_dir() else {}
    keys = {"stage", "reason", "at"}
    return {
        tenant: LastFailure(**{key: str(values[key]) for key in keys})
        for tenant, values in found.items()
        if isinstance(values, dict) and keys <= values.keys()
    }


def _is_later(stage: str, other: str) -> bool:
    if stage not in _STAGE_ORDER or other not in _STAGE_ORDER:
        return False
    return _STAGE_ORDER.index(stage) > _STAGE_ORDER.index(other)


def _get_folder(workspace: Workspace) -> Path:
    return workspace.root / "var" / "failures"


def _get_file(workspace: Workspace, tenant: str) -> Path:
    return _get_folder(workspace) / f"{tenant}.json"
