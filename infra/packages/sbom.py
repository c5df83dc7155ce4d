"""The software bill of materials: every package that the product runs with, its licence and what it needs.

The form is CycloneDX's, in JSON. Reads an environment by cyclonedx-py; leaves out the packages of the development.
cyclonedx-py has an environment of its own, since a package that it needs (rfc3987-syntax) adds a second to the start of
every process that imports jsonschema, as Prefect's do.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

from components.errors import WorkspaceError
from components.storage.atomic_files import write_atomic
from infra.packages.runtime import is_runtime, read_runtime_pins

_ROOT_FOLDER = Path(__file__).resolve().parents[2]
TOOL = _ROOT_FOLDER / ".venv-sbom" / "bin" / "python"
"""Interpreter of the environment with cyclonedx-py; `make sbom` makes it."""
_ROOT = "root-component"
_VALIDATE = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
found = JsonStrictValidator(SchemaVersion.V1_6).validate_str(sys.stdin.read())
print("" if found is None else found.data)
"""


def read_environment(python: Path) -> dict[str, Any]:
    """Return the bill of materials of all packages in an environment.

    Raises:
        WorkspaceError: cyclonedx-py is not installed, or cannot read the environment.
    """
    options = ["--spec-version", "1.6", "--pyproject", str(_ROOT_FOLDER / "pyproject.toml"), "--output-reproducible"]
    words = ["-m", "cyclonedx_py", "environment", *options, "--no-validate", str(python)]
    bill: dict[str, Any] = json.loads(_run_tool(words, f"a bill of materials of {python}"))
    return bill


def _run_tool(words: list[str], wanted: str, text: str = "") -> str:
    if not TOOL.exists():
        raise WorkspaceError("cyclonedx-py in .venv-sbom", "no such environment", "run `make sbom`")
    done = subprocess.run([str(TOOL), *words], input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        got = done.stderr.strip() or f"exit code {done.returncode}"
        raise WorkspaceError(wanted, got, "install the project: `make setup`")
    return done.stdout


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
    return _run_tool(["-c", _VALIDATE], "a check of the bill of materials", json.dumps(bill)).strip() or None


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
