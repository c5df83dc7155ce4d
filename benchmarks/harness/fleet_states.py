"""The state of a fleet whose prefixes all serve, in seconds for 10,000 tenants, to measure nights on top of it.

Some tenants pass through the real stages, with modelled training. The others get copies of one of them in which ids and
digests are replaced; their versions are written into MLflow's tables and have no files there. So the former can get new
data, and the latter cost a night what a tenant costs that is up to date.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from components.data.digests import compute_file_digest
from components.registry.manifest import MANIFEST_FILE, TENSORS_FILE
from components.registry.mlflow.versions import DECODING_TAG
from components.stages import evaluate, gate, register, train
from components.stages.outcome import raise_on_failures
from components.stages.plan import PlanItem, plan
from components.stages.stamps import STAMP_FILE, read_json, write_stamp
from components.stages.workspace import Workspace
from harness.mlflow_tables import write_mlflow_tables

_STAGES = ("train", "evaluate", "gate")


@dataclass(frozen=True)
class _Identity:
    """What is replaced in the files of a copied tenant."""

    tenant: str
    fingerprint: str
    data_digest: str
    sha256: str

    def list_values(self) -> tuple[str, ...]:
        return (self.tenant, self.fingerprint, self.data_digest, self.sha256)


def make_fleet_state(workspace: Workspace, real: Sequence[str], copied: Sequence[str], mlflow_database: str) -> None:
    """Train, evaluate, judge and register tenants that have data; training must be modelled already.

    `mlflow_database` is the URL of the database below MLflow.
    """
    for stage in (train, evaluate, gate):
        raise_on_failures(stage.run(workspace, real))
    versions, failures = register.register(workspace, plan(workspace, real).collect_fingerprints())
    raise_on_failures(failures)
    register.roll_out(workspace, versions, [])
    copies = [_copy_results(workspace, real[0], item) for item in plan(workspace, copied).items]
    if copies:
        champion = workspace.registry.find_champion(real[0])
        decoding = {} if champion is None else {DECODING_TAG: champion.tags[DECODING_TAG]}
        tags = {one.tenant: {"sha256": one.sha256, "fingerprint": one.fingerprint, **decoding} for one in copies}
        write_mlflow_tables(mlflow_database, workspace.root, list(tags), tags=tags)


def _copy_results(workspace: Workspace, source: str, item: PlanItem) -> _Identity:
    manifest = json.loads((workspace.get_output_folder("train", source) / MANIFEST_FILE).read_text())
    tensors = (workspace.get_output_folder("train", source) / TENSORS_FILE).read_bytes() + item.tenant.encode()
    old = _Identity(source, manifest["fingerprint"], manifest["data_digest"], manifest["sha256"])
    new = _Identity(item.tenant, item.fingerprint, item.data_digest, hashlib.sha256(tensors).hexdigest())
    for stage in _STAGES:
        folder = workspace.get_output_folder(stage, item.tenant)
        shutil.copytree(workspace.get_output_folder(stage, source), folder)
        if stage == "train":
            (folder / TENSORS_FILE).write_bytes(tensors)
        _replace_values(folder, old, new)
    _renew_verdict_stamp(workspace, item.tenant)
    return new


def _replace_values(folder: Path, old: _Identity, new: _Identity) -> None:
    for path in folder.rglob("*"):
        if path.suffix in (".json", ".jsonl", ".csv"):
            text = path.read_text(encoding="utf-8")
            for before, after in zip(old.list_values(), new.list_values(), strict=True):
                text = text.replace(before, after)
            path.write_text(text, encoding="utf-8")
    for path in folder.rglob(STAMP_FILE):
        stamp = read_json(path)
        write_stamp(path.parent, stamp["inputs"], stamp["files"])


def _renew_verdict_stamp(workspace: Workspace, tenant: str) -> None:
    judged = workspace.get_output_folder("gate", tenant)
    stamp = read_json(judged / STAMP_FILE)
    evaluated = workspace.get_output_folder("evaluate", tenant)
    candidate = [compute_file_digest(evaluated / name) for name in (evaluate.REPORT_FILE, evaluate.PREDICTIONS_FILE)]
    write_stamp(judged, {**stamp["inputs"], "candidate": candidate}, stamp["files"])
