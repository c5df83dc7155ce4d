"""Names for content: a tenant's data digest and the dataset version. Knows nothing of training."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from components.data.schema import SPLITS, check_tenant_id
from components.errors import DataError


def compute_file_digest(path: Path) -> str | None:
    """Hex SHA-256 of a file's bytes; None where there is no such file."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None


def compute_tenant_digest(
    data: Path, tenant: str, digest_file: Callable[[Path], str | None] = compute_file_digest
) -> str:
    """Hex SHA-256 of a tenant's split files: their bytes, not their times or place; a missing split counts as absent.

    `digest_file` gives a file's digest: from `components.data.digest_cache`, say, which need not read it again.

    Raises:
        DataError: the tenant id is no DNS label, or the data folder has no such tenant.

    """
    folder = data / check_tenant_id(tenant)
    if not folder.is_dir():
        raise DataError(f"data of tenant {tenant}", f"no folder {folder}", "run `dvc pull`, or deliver a drop for it")
    digest = hashlib.sha256()
    for split in SPLITS:
        digest.update(f"{split} {digest_file(folder / f'{split}.jsonl') or 'absent'}\n".encode())
    return digest.hexdigest()


def read_dataset_version(pointer: Path) -> str:
    """The dataset version: the md5 as it stands in data.dvc.

    Raises:
        DataError: the pointer is missing or is no DVC file of one output.

    """
    return str(read_pointer_output(pointer)["md5"])


def read_pointer_output(pointer: Path) -> dict[str, Any]:
    """The one output that a .dvc file tracks: md5, size, nfiles, hash, path.

    Raises:
        DataError: the file is missing, no YAML, or has no output with an md5.

    """
    try:
        values = yaml.safe_load(pointer.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError("a dataset version", f"no {pointer}", "take in a drop, or fetch the file from git") from None
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        line = " ".join(str(problem).split())
        raise DataError("a DVC file", f"{pointer}: {line}", "restore it from git") from None
    match values:
        case {"outs": [{"md5": str(), "path": str()} as output]}:
            return dict(output)
    raise DataError("a DVC file of one output with its md5", f"{pointer} without it", "restore it from git")
