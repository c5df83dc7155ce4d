"""The bill of materials: what stays of an environment's, and that it follows CycloneDX's schema."""

import importlib.metadata
import json
import sys
from pathlib import Path

import pytest

from infra.packages.__main__ import main
from infra.packages.runtime import read_runtime_pins
from infra.packages.sbom import find_schema_error, keep_runtime

_BILL = {
    "bomFormat": "CycloneDX",
    "specVersion": "1.6",
    "components": [
        {"type": "library", "name": name, "version": "1", "bom-ref": f"{name}==1"}
        for name in ("torch", "numpy", "mypy")
    ],
    "dependencies": [
        {"ref": "root-component", "dependsOn": ["mypy==1", "torch==1"]},
        {"ref": "torch==1", "dependsOn": ["numpy==1"]},
        {"ref": "mypy==1", "dependsOn": ["numpy==1"]},
        {"ref": "numpy==1", "dependsOn": ["mypy==1"]},
    ],
}


def test_packages_of_the_development_are_left_out_with_the_edges_to_them() -> None:
    bill = keep_runtime(_BILL, {"torch": "1", "numpy": "1"})
    assert [each["name"] for each in bill["components"]] == ["torch", "numpy"]
    assert bill["dependencies"] == [
        {"ref": "root-component", "dependsOn": ["torch==1"]},
        {"ref": "torch==1", "dependsOn": ["numpy==1"]},
        {"ref": "numpy==1"},
    ]


def test_a_bill_that_contradicts_the_schema_is_found() -> None:
    assert find_schema_error(_BILL) is None
    assert "licenses" in str(find_schema_error(_BILL | {"components": [_BILL["components"][0] | {"licenses": "MIT"}]}))


@pytest.mark.slow
def test_the_bill_of_this_environment_lists_every_package_that_the_product_runs_with(tmp_path: Path) -> None:
    target = tmp_path / "sbom.json"
    assert main(["sbom", "--target", str(target), "--python", sys.executable]) == 0
    bill = json.loads(target.read_text(encoding="utf-8"))
    listed = {each["name"].lower().replace("_", "-").replace(".", "-"): each for each in bill["components"]}
    absent = [name for name in read_runtime_pins() if name not in listed and _is_installed(name)]
    assert absent == []
    assert {"pytest", "mypy"} & listed.keys() == set()
    assert listed["torch"]["version"] == importlib.metadata.version("torch")
    assert bill["metadata"]["component"]["name"] == "prefixfleet"
    assert main(["sbom", "--target", str(target), "--python", str(tmp_path / "none")]) == 2


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
