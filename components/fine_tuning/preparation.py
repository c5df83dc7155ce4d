"""Prepares the retraining of a job: its files become a drop, its hyperparameters the tenant's override file.

Both can be taken back: a job that does not succeed leaves the override file as it was, and no drop that was not taken.
What is needed for that is in var/fine_tuning/undo.json while the job runs. Knows no flow.
"""

from pathlib import Path

from components.config import PARAMS_FILE, load_params, load_workspace_params
from components.data.drops import add_to_drop, append_lines
from components.data.schema import SPLITS, format_line
from components.fine_tuning.job_files import read_job_splits
from components.fine_tuning.train_values import make_train_values
from components.fine_tuning.uploads import Uploads
from components.rollout.store.tuning_jobs import TuningJob, find_job
from components.stages.stamps import read_json, write_json
from components.stages.tuning.overrides import write_override
from components.stages.workspace import Workspace
from components.storage.atomic_files import convert_disk_errors, remove_tree, write_atomic

_LOCK_WAIT_S = 60.0


def get_job_folder(root: Path) -> Path:
    """Return the folder of what a running job needs beside the workspace's data."""
    return root / "var" / "fine_tuning"


def prepare(workspace: Workspace, job: TuningJob) -> None:
    """Write the job's drop and override values. The caller holds the workspace's lock.

    Raises:
        DataError: as `read_job_splits`.
        ConfigError, WorkspaceError: the override file, the disk or the database refuses.
    """
    limits, data = workspace.params.data, workspace.data / job.tenant
    uploads = Uploads(workspace.root, workspace.database, limits)
    splits = read_job_splits(workspace.database, uploads, limits, job, has_data=data.is_dir())
    drop, override = workspace.drops / job.tenant, workspace.get_override_file(job.tenant)
    undo = {
        "job": job.id,
        "tenant": job.tenant,
        "override": override.read_text(encoding="utf-8") if override.is_file() else None,
        "had_drop": drop.exists(),
    }
    write_json(_get_undo_file(workspace.root), undo)
    with workspace.database.lock("corrections", wait_s=_LOCK_WAIT_S):  # whoever adds lines to drops holds it
        add_to_drop(drop, splits.pop("train"))
        for split, examples in splits.items():
            append_lines(drop / f"{split}.jsonl", (format_line(example).encode() for example in examples))
    present = load_workspace_params(workspace.root).for_tenant(job.tenant).train
    default = load_params(workspace.root / PARAMS_FILE).for_tenant(job.tenant).train
    lines = sum(_count_lines(folder / "train.jsonl") for folder in (data, drop))
    if values := make_train_values(job.request, present, default, lines):
        write_override(workspace, job.tenant, values, present)


def undo_unless_succeeded(workspace: Workspace) -> None:
    """Take back what a job left that ended without success. No job may run. Raises WorkspaceError."""
    file = _get_undo_file(workspace.root)
    if (undo := read_json(file)) is None:
        return
    job = find_job(workspace.database, undo["job"], None)
    if job is None or job.status != "succeeded":
        override = workspace.get_override_file(undo["tenant"])
        with convert_disk_errors(f"restore {override}"):
            if undo["override"] is None:
                override.unlink(missing_ok=True)
            else:
                write_atomic(override, undo["override"].encode())
            if not undo["had_drop"]:
                for split in SPLITS:
                    (workspace.drops / undo["tenant"] / f"{split}.jsonl").unlink(missing_ok=True)
                if (folder := workspace.drops / undo["tenant"]).is_dir() and not any(folder.iterdir()):
                    remove_tree(folder)
    with convert_disk_errors(f"remove {file}"):
        file.unlink(missing_ok=True)


def _count_lines(path: Path) -> int:
    with convert_disk_errors(f"read {path}"):
        return path.read_bytes().count(b"\n") if path.is_file() else 0


def _get_undo_file(root: Path) -> Path:
    return get_job_folder(root) / "undo.json"
