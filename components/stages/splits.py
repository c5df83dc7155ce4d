"""A tenant's three splits, read and checked for a run. Knows the data folder's files; does not know tokens."""

from pathlib import Path

from components.config import Params
from components.data.schema import SPLITS, Example, read_split
from components.stages.workspace import Workspace


def read_splits(workspace: Workspace, tenant: str) -> dict[str, list[Example]]:
    """Every split of a tenant; a run needs all three.

    Raises:
        DataError: a split is missing, empty, or holds a line that breaks the schema (named with file and line).

    """
    return {split: read_tenant_split(workspace, tenant, split) for split in SPLITS}


def get_split_path(workspace: Workspace, tenant: str, split: str) -> Path:
    """Where a split lies."""
    return workspace.data / tenant / f"{split}.jsonl"


def read_tenant_split(workspace: Workspace, tenant: str, split: str) -> list[Example]:
    """One split of a tenant. Raises DataError as `read_splits` does."""
    return read_split(get_split_path(workspace, tenant, split), workspace.params.data)


def read_evaluation_examples(workspace: Workspace, tenant: str, params: Params) -> list[Example]:
    """The examples that evaluation decodes: the configured split, or its first `max_examples`."""
    return read_tenant_split(workspace, tenant, params.evaluate.split)[: params.evaluate.max_examples]
