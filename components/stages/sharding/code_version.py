"""The version of the code that runs: a digest over its source files, the same on every machine with the same code.

Parent and workers must have the same code, since a change of the code may change what is trained.
"""

import hashlib
from pathlib import Path

import components

_PACKAGES = ("cli", "components", "flows")
_DIGITS = 12


def read_code_version() -> str:
    """Return 12 hex digits over names and content of all Python files of the packages cli, components and flows."""
    return compute_code_version(Path(components.__file__).parents[1])


def compute_code_version(root: Path) -> str:
    """As `read_code_version`, for the packages in the folder `root`."""
    digest = hashlib.sha256()
    paths = [path for package in _PACKAGES for path in (root / package).rglob("*.py")]
    for name, path in sorted((path.relative_to(root).as_posix(), path) for path in paths):
        content = path.read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:_DIGITS]
