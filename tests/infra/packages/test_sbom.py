"""The bill of materials: what stays of an environment's, and that it follows CycloneDX's schema."""

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from infra.packages.__main__ import main
from infra.packages.runtime import read_runtime_pins
from infra.packages.sbom import TOOL, find_schema_error, keep_runtime, read_environment

needs_tool = pytest.mark.skipif(not TOOL.exists(), reason="needs .venv-sbom, which `make sbom` makes")
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


@needs_tool
def test_a_bill_that_contradicts_the_schema_is_found() -> None:
    assert find_schema_error(_BILL) is None
    assert "licenses" in str(find_schema_error(_BILL | {"components": [_BILL["components"][0] | {"licenses": "MIT"}]}))


@needs_tool
def test_every_package_that_the_product_runs_with_is_listed() -> None:
    pins = read_runtime_pins()
    bill = keep_runtime(read_environment(Path(sys.executable)), pins)
    versions = {canonicalize_name(each["name"]): each["version"] for each in bill["components"]}
    assert [name for name in pins if name not in versions and _is_installed(name)] == []
    assert versions["torch"] == importlib.metadata.version("torch")
    assert {"pytest", "mypy"} & versions.keys() == set()
    assert bill["metadata"]["component"]["name"] == "prefixfleet"


@needs_tool
def test_the_bill_of_an_environment_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target, environment = tmp_path / "sbom.json", tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    (site,) = environment.glob("lib/python*/site-packages")
    for name in ("numpy", "pytest"):
        metadata = f"Metadata-Version: 2.4\nName: {name}\nVersion: 1\nLicense-Expression: MIT\n"
        (site / f"{name}-1.dist-info").mkdir()
        (site / f"{name}-1.dist-info" / "METADATA").write_text(metadata, encoding="utf-8")
    python = environment / "bin/python"
    assert main(["sbom", "--target", str(target), "--python", str(python)]) == 0
    assert capsys.readouterr().out == f"packages in {target}: 1\n"
    (numpy,) = json.loads(target.read_text(encoding="utf-8"))["components"]
    assert (numpy["name"], numpy["licenses"][0]["license"]["id"]) == ("numpy", "MIT")
    assert main(["sbom", "--target", str(target), "--python", str(tmp_path / "none")]) == 2
    assert "fix:" in capsys.readouterr().err


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
