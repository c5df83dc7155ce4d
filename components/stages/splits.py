"""Read a tenant's three splits from the data folder, checked against the schema. Does not know tokens."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components.config import Params
from components.data.overlaps import find_overlaps, require_few_overlaps
from components.data.schema import SPLITS, Example, read_split
from components.stages.progress import log_warning
from components.stages.stamps import TRAINING_FILE, read_json
from components.stages.workspace import Workspace

_OVERLAP = "_overlap"
_HELD_OUT = ("validation", "test")


def read_splits(workspace: Workspace, tenant: str) -> dict[str, list[Example]]:
    """Return all three splits of a tenant by name.

    Raises:
        DataError: a split is missing or empty, or a line (named with its file and number) breaks the schema.

    """
    return {split: read_tenant_split(workspace, tenant, split) for split in SPLITS}


def get_split_path(workspace: Workspace, tenant: str, split: str) -> Path:
    """Return the path of a split's file."""
    return workspace.data / tenant / f"{split}.jsonl"


def read_tenant_split(workspace: Workspace, tenant: str, split: str) -> list[Example]:
    """Return one split of a tenant. Raises DataError like `read_splits`."""
    return read_split(get_split_path(workspace, tenant, split), workspace.params.data)


def read_evaluation_examples(workspace: Workspace, tenant: str, params: Params) -> list[Example]:
    """Return the examples to evaluate on: the first `max_examples` of the configured split."""
    return read_tenant_split(workspace, tenant, params.evaluate.split)[: params.evaluate.max_examples]


def check_overlaps(workspace: Workspace, tenant: str, splits: Mapping[str, Sequence[Example]]) -> dict[str, float]:
    """Log a warning for each overlap between a tenant's splits.

    Returns:
        `validation_overlap` and `test_overlap`: the share of examples whose source is also in train.

    Raises:
        DataError: validation or test repeats more of train than `data.max_overlap`.

    """
    overlaps = find_overlaps(splits)
    require_few_overlaps(tenant, overlaps, workspace.params.data)
    for overlap in overlaps:
        log_warning(f"{tenant}: {overlap.sentence}")
    shares = {overlap.split: overlap.share for overlap in overlaps if overlap.other == "train"}
    return {f"{split}{_OVERLAP}": round(shares.get(split, 0.0), 6) for split in _HELD_OUT}


def read_overlaps(workspace: Workspace, tenant: str) -> str:
    """Return the overlaps that a tenant's last training found as a sentence; "" if there were none."""
    return describe_overlaps(read_json(workspace.get_output_folder("train", tenant) / TRAINING_FILE) or {})


def describe_overlaps(measured: Mapping[str, Any]) -> str:
    """Return the overlaps among a training's figures as a sentence; "" if there are none."""
    parts = [
        f"{share:.1%} of the {split} examples"
        for split in _HELD_OUT
        if isinstance(share := measured.get(f"{split}{_OVERLAP}"), float) and share
    ]
    return f"{' and '.join(parts)} have a source that is also in train" if parts else ""
