"""The overlays of infra/kubernetes as `kubectl kustomize` renders them, and their parts."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "infra" / "kubernetes"
OVERLAYS = sorted(path.name for path in (FOLDER / "overlays").iterdir())
Manifest = dict[str, Any]


def render(overlay: str) -> list[Manifest]:
    """Return the manifests of an overlay; skips the test where there is no kubectl that can render it."""
    if not has_kubectl():
        pytest.skip("no kubectl 1.27 or newer (kustomize 5), which renders the overlays")
    return _render(overlay)


@cache
def has_kubectl() -> bool:
    """Return whether there is a kubectl with kustomize 5 or newer."""
    if shutil.which("kubectl") is None:
        return False
    command = ["kubectl", "version", "--client", "--output", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r'"kustomizeVersion": "v(\d+)', done.stdout)
    return found is not None and int(found[1]) >= 5


@cache
def _render(overlay: str) -> list[Manifest]:
    done = subprocess.run(
        ["kubectl", "kustomize", str(FOLDER / "overlays" / overlay)], capture_output=True, text=True, check=True
    )
    return list(yaml.safe_load_all(done.stdout))


def select(manifests: list[Manifest], kind: str) -> dict[str, Manifest]:
    """Return the manifests of one kind by their names."""
    return {one["metadata"]["name"]: one for one in manifests if one["kind"] == kind}


def find_workloads(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Return what makes pods, by the component that the pods' labels name."""
    made = [one for one in manifests if one["kind"] in ("Deployment", "StatefulSet", "Job")]
    return {one["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"]: one for one in made}


def get_pod(workload: Manifest) -> Manifest:
    """Return the specification of a workload's pods."""
    return workload["spec"]["template"]["spec"]


def list_containers(workload: Manifest) -> list[Manifest]:
    """Return the containers of a workload's pods, those that run first included."""
    pod = get_pod(workload)
    return [*pod.get("initContainers", []), *pod["containers"]]


def list_all_containers(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Yield each container with its component and name, such as "migrate/prefect"."""
    for component, workload in find_workloads(manifests).items():
        for container in list_containers(workload):
            yield f"{component}/{container['name']}", container


def list_variables(container: Manifest, manifests: list[Manifest]) -> list[str]:
    """Return the names of a container's variables, those of its ConfigMaps included."""
    maps = select(manifests, "ConfigMap")
    taken = [each["configMapRef"]["name"] for each in container.get("envFrom", []) if "configMapRef" in each]
    return [each["name"] for each in container.get("env", [])] + [key for name in taken for key in maps[name]["data"]]
