"""The component `sign-on` on the overlay `cloud`: what the console reads, its secret, and what it may reach."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_overlays import FOLDER, has_kubectl, select

from components.access.oidc.login import SECRET_VARIABLE
from components.config.console_file import read_console_settings


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    if not has_kubectl():
        pytest.skip("no kubectl 1.27 or newer (kustomize 5), which renders the overlays")
    copy = tmp_path_factory.mktemp("sign-on") / "kubernetes"
    shutil.copytree(FOLDER, copy)
    overlay = copy / "overlays" / "cloud"
    content = yaml.safe_load((overlay / "kustomization.yaml").read_text(encoding="utf-8"))
    content["components"].append("../../sign-on")
    (overlay / "kustomization.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    done = subprocess.run(["kubectl", "kustomize", str(overlay)], capture_output=True, text=True, check=True)
    return list(yaml.safe_load_all(done.stdout))


def test_the_console_reads_its_settings_and_its_secret(manifests: list[dict[str, Any]], tmp_path: Path) -> None:
    pod = select(manifests, "Deployment")["console"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (option,) = [word for word in container["command"] if word.startswith("--settings=")]
    (mount,) = [one for one in container["volumeMounts"] if one["name"] == "settings"]
    (volume,) = [one for one in pod["volumes"] if one["name"] == "settings"]
    content = select(manifests, "ConfigMap")[volume["configMap"]["name"]]["data"]
    file = Path(option.partition("=")[2])
    assert str(file.parent) == mount["mountPath"]
    (tmp_path / file.name).write_text(content[file.name], encoding="utf-8")
    settings = read_console_settings(tmp_path / file.name)
    assert settings.oidc is not None
    assert settings.console.url is not None
    variables = {one["name"]: one for one in container["env"]}
    assert variables[SECRET_VARIABLE]["valueFrom"]["secretKeyRef"]["optional"] is True
    assert "value" not in variables[SECRET_VARIABLE]


def test_console_and_gateway_reach_the_provider_and_no_private_network(manifests: list[dict[str, Any]]) -> None:
    spec = select(manifests, "NetworkPolicy")["to-identity-provider"]["spec"]
    assert spec["podSelector"]["matchExpressions"][0]["values"] == ["console", "gateway"]
    assert spec["policyTypes"] == ["Egress"]
    assert "169.254.0.0/16" in spec["egress"][0]["to"][0]["ipBlock"]["except"]
