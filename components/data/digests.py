"""Digests of content: a tenant's data digest and the dataset version. Does not know training."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from components.data.schema import SPLITS, check_tenant_id
from components.errors import DataError


def compute_file_digest(path: Path) -> str | None:
    """Return the hex SHA-256 of a file's bytes; None if there is no such file."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None


def compute_tenant_digest(
    data: Path, tenant: str, digest_file: Callable[[Path], str | None] = compute_file_digest
) -> str:
    """Return the hex SHA-256 of the bytes of a tenant's split files; their times and folder do not matter.

    `digest_file` returns a file's digest; pass `DigestCache.digest_file` to avoid reading unchanged files.

    Raises:
        DataError: the tenant id is not a DNS label, or the data folder has no such tenant.

    """
    folder = data / check_tenant_id(tenant)
    if not folder.is_dir():
        raise DataError(f"data of tenant {tenant}", f"no folder {folder}", "run `dvc pull`, or add a drop for it")
    digest = hashlib.sha256()
    for split in SPLITS:
        digest.update(f"{split} {digest_file(folder / f'{split}.jsonl') or 'absent'}\n".encode())
    return digest.hexdigest()


def read_dataset_version(pointer: Path) -> str:
    """Return the dataset version: the md5 in data.dvc.

    Raises:
        DataError: the pointer is missing or is not a DVC file with one output.

    """
    return str(read_pointer_output(pointer)["md5"])


def read_pointer_output(pointer: Path) -> dict[str, Any]:
    """Return the one output that a .dvc file tracks: md5, size, nfiles, hash, path.

    Raises:
        DataError: the file is missing, is not YAML, or has no output with an md5.

    """
    try:
        values = yaml.safe_load(pointer.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(
            "a dataset version", f"no file {pointer}", "run `prefixfleet data take`, or restore it from git"
        ) from None
    except OSError as problem:
        raise DataError("a readable DVC file", f"{pointer}: {problem.strerror}", "restore it from git") from None
    except (yaml.YAMLError, ValueError, RecursionError) as problem:
        line = " ".join(str(problem).split())
        raise DataError("a DVC file", f"{pointer}: {line}", "restore it from git") from None
    match values:
        case {"outs": [{"md5": str(), "path": str()} as output]}:
            return dict(output)
    raise DataError("a DVC file with one output and its md5", f"none in {pointer}", "restore it from git")
