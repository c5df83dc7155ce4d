"""A trained tenant's results under another tenant's name: the files of the stages in out/, with its own digests.

The copy has its own data, fingerprint and tensors (they differ in the last value); its scores and predictions are those
of the tenant that it is a copy of.
"""

import hashlib
import json
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from components.data.digests import compute_file_digest
from components.registry.manifest import MANIFEST_FILE, TENSORS_FILE
from components.stages import evaluate
from components.stages.plan import PlanItem
from components.stages.stamps import STAMP_FILE, read_json, write_stamp
from components.stages.workspace import Workspace

_STAGES = ("train", "evaluate", "gate")
_METRICS_FOLDER = "_metrics"


@dataclass(frozen=True)
class CopiedTenant:
    """A tenant whose results are a copy, and what replaces the values of the original in its files and rows."""

    source: str
    tenant: str
    replaced: Mapping[str, str]
    """Value of the original -> value of the copy, of the same length."""

    def replace(self, content: bytes) -> bytes:
        """Return the content of a file of the original as the copy has it."""
        for before, after in self.replaced.items():
            content = content.replace(before.encode(), after.encode())
        return content

    def replace_text(self, text: str) -> str:
        """Return a text of the original as the copy has it."""
        for before, after in self.replaced.items():
            text = text.replace(before, after)
        return text

    def renew(self, identifiers: Sequence[str]) -> "CopiedTenant":
        """Return the copy with identifiers of its own, where the original has these, of 32 hexadecimal digits each."""
        return replace(self, replaced={**self.replaced, **{one: uuid.uuid4().hex for one in identifiers}})


def copy_results(workspace: Workspace, source: str, item: PlanItem, number: int) -> CopiedTenant:
    """Copy what the stages have made of a tenant; `number`, from 1 to 65,535, is another one for each copy."""
    trained = workspace.get_output_folder("train", source)
    manifest = json.loads((trained / MANIFEST_FILE).read_text())
    replaced = {
        source: item.tenant,
        manifest["fingerprint"]: item.fingerprint,
        manifest["data_digest"]: item.data_digest,
    }
    renamed = CopiedTenant(source, item.tenant, replaced).replace((trained / TENSORS_FILE).read_bytes())
    tensors = _change_last_value(renamed, number)
    replaced[manifest["sha256"]] = hashlib.sha256(tensors).hexdigest()
    copy = CopiedTenant(source, item.tenant, replaced)
    folders = [workspace.get_output_folder(stage, item.tenant) for stage in _STAGES]
    for stage, folder in zip(_STAGES, folders, strict=True):
        shutil.copytree(workspace.get_output_folder(stage, source), folder)
        for path in (path for path in folder.rglob("*") if path.is_file()):
            path.write_bytes(copy.replace(path.read_bytes()))
    (folders[0] / TENSORS_FILE).write_bytes(tensors)
    metrics = workspace.get_output_folder("evaluate") / _METRICS_FOLDER
    if (metrics / f"{source}.json").exists():
        shutil.copyfile(metrics / f"{source}.json", metrics / f"{item.tenant}.json")
    for path in (path for folder in folders for path in folder.rglob(STAMP_FILE)):
        stamp = read_json(path)
        write_stamp(path.parent, stamp["inputs"], stamp["files"])
    _renew_verdict_stamp(workspace, item.tenant)
    return copy


def _change_last_value(tensors: bytes, number: int) -> bytes:
    """Return other tensors: the low half of a float32 changes it by less than one part in a hundred."""
    low = (int.from_bytes(tensors[-4:-2], "little") + number) % 65_536
    return tensors[:-4] + low.to_bytes(2, "little") + tensors[-2:]


def _renew_verdict_stamp(workspace: Workspace, tenant: str) -> None:
    judged = workspace.get_output_folder("gate", tenant)
    stamp = read_json(judged / STAMP_FILE)
    evaluated = workspace.get_output_folder("evaluate", tenant)
    candidate = [compute_file_digest(evaluated / name) for name in (evaluate.REPORT_FILE, evaluate.PREDICTIONS_FILE)]
    write_stamp(judged, {**stamp["inputs"], "candidate": candidate}, stamp["files"])
