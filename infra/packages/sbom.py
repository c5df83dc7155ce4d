"""The software bill of materials: every package that the product runs with, its licence and what it needs.

The form is CycloneDX's, in JSON. Reads an environment by cyclonedx-py; leaves out the packages of the development.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from components.errors import WorkspaceError
from components.storage.atomic_files import write_atomic
from infra.packages.runtime import is_runtime, read_runtime_pins

_PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
_VERSION = SchemaVersion.V1_6
_ROOT = "root-component"


def read_environment(python: Path) -> dict[str, Any]:
    """Return the bill of materials of all packages in an environment.

    Raises:
        WorkspaceError: cyclonedx-py cannot read the environment.
    """
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--spec-version", _VERSION.to_version()]
    command += ["--pyproject", str(_PROJECT), "--output-reproducible", "--no-validate", str(python)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        got = done.stderr.strip() or f"exit code {done.returncode}"
        raise WorkspaceError(f"a bill of materials of {python}", got, "install the project: `make setup`")
    bill: dict[str, Any] = json.loads(done.stdout)
    return bill


def keep_runtime(bill: dict[str, Any], pins: dict[str, str]) -> dict[str, Any]:
    """Return the bill without the packages of the development, and without the edges to them."""
    parts = [part for part in bill["components"] if is_runtime(part["name"], pins)]
    kept = {_ROOT, *(part["bom-ref"] for part in parts)}
    edges = []
    for edge in bill["dependencies"]:
        if edge["ref"] in kept:
            needed = [each for each in edge.get("dependsOn", []) if each in kept]
            edges.append({"ref": edge["ref"]} | ({"dependsOn": needed} if needed else {}))
    return bill | {"components": parts, "dependencies": edges}


def find_schema_error(bill: dict[str, Any]) -> str | None:
    """Return what of the bill contradicts CycloneDX's schema; None if nothing does."""
    found = JsonStrictValidator(_VERSION).validate_str(json.dumps(bill))
    return None if found is None else str(found.data)


def write_bill(target: Path, python: Path) -> int:
    """Write the product's bill of materials; return how many packages it lists.

    Raises:
        WorkspaceError: the environment cannot be read, or the bill contradicts the schema.
    """
    bill = keep_runtime(read_environment(python), read_runtime_pins())
    if problem := find_schema_error(bill):
        raise WorkspaceError("a bill of materials that follows CycloneDX's schema", problem, "update cyclonedx-bom")
    write_atomic(target, f"{json.dumps(bill, indent=2)}\n".encode())
    return len(bill["components"])
