"""The commands of the engines: a container gets what the manifests give a pod, and no more."""

from pathlib import Path

import pytest
import yaml

from infra.images.commands import (
    PROJECT,
    USER,
    make_build_command,
    make_chroot_command,
    make_run_command,
    read_image_environment,
)

CONFINED = yaml.safe_load((PROJECT / "infra/kubernetes/confined/pod.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_a_container_is_confined_as_a_pod_is(engine: str) -> None:
    pod, container = CONFINED[1]["value"], CONFINED[2]["value"]
    command = make_run_command(engine, "image:tag")
    assert command[:3] == [engine, "run", "--rm"]
    assert command[command.index("--user") + 1] == f"{pod['runAsUser']}:{pod['runAsGroup']}"
    assert ("--read-only" in command) == container["readOnlyRootFilesystem"]
    assert [command[command.index("--cap-drop") + 1]] == container["capabilities"]["drop"]
    assert command[command.index("--security-opt") + 1] == "no-new-privileges"
    assert [word for word in command if word.startswith("/")] == [
        "/tmp:rw,exec,mode=1777",
        "/workspace:rw,exec,mode=1777",
    ]
    assert command[-3:] == ["image:tag", "python", "-"]
    assert ("--read-only-tmpfs=false" in command) == (engine == "podman")


def test_the_files_of_an_image_are_entered_as_its_user_without_capabilities_and_with_its_environment() -> None:
    words = make_chroot_command(Path("/an image"), {"PATH": "/opt/venv/bin", "HOME": "/root"})
    script = words[-1]
    assert words[:-1] == ["unshare", "--mount", "--pid", "--fork", "sh", "-c"]
    assert "mount --options remount,bind,ro '/an image'" in script
    for word in (f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--bounding-set=-all", "--no-new-privs"):
        assert word in script.splitlines()[-1]
    assert "PATH=/opt/venv/bin HOME=/tmp python -" in script


def test_a_build_names_its_target_and_its_base() -> None:
    docker = make_build_command("docker", "prefixfleet:cpu", "cpu", None, ["--pull"])
    assert docker[:2] == ["docker", "build"]
    assert docker[-2:] == ["--pull", str(PROJECT)]
    assert "--from" not in docker
    buildah = make_build_command("buildah", "prefixfleet:cuda", "cuda", "localhost/python", [])
    assert buildah[buildah.index("--target") + 1] == "cuda"
    assert buildah[buildah.index("--from") + 1] == "localhost/python"
    assert buildah[buildah.index("--isolation") + 1] == "chroot"


def test_the_environment_of_an_image_is_read() -> None:
    description = '{"OCIv1": {"config": {"Env": ["PATH=/bin", "OPTIONS=a=b"]}}}'
    assert read_image_environment(description) == {"PATH": "/bin", "OPTIONS": "a=b"}
