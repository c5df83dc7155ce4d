"""How each container engine builds the image and runs a script in it: docker, podman, or buildah alone.

A container has the user 10001, no capability and a read-only root, as a pod of infra/kubernetes has; /tmp and
/workspace are empty and in memory. buildah has no such containers: there the image's files are mounted read-only and
entered by chroot. Runs nothing.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
USER = 10001
_WRITABLE = ("/tmp", "/workspace")  # noqa: S108
_ENVIRONMENT = {"HOME": "/tmp"}  # noqa: S108
_SCRIPT = ["python", "-"]
"""Reads the script from stdin."""


def make_build_command(engine: str, image: str, target: str, base: str | None, options: Sequence[str]) -> list[str]:
    """Return the command that builds a target of infra/Dockerfile; `base` replaces the image that it starts from."""
    command = [engine, "build", "--file", str(PROJECT / "infra/Dockerfile"), "--target", target, "--tag", image]
    if engine == "buildah":
        command += ["--isolation", "chroot", "--layers"]
    if base is not None:
        command += ["--from", base]
    return [*command, *options, str(PROJECT)]


def make_run_command(engine: str, image: str) -> list[str]:
    """Return the command with which docker or podman runs the script on stdin in a container."""
    command = [engine, "run", "--rm", "--interactive", "--read-only", "--user", f"{USER}:{USER}"]
    command += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    if engine == "podman":
        command.append("--read-only-tmpfs=false")  # else /var/tmp and /run could be written
    for folder in _WRITABLE:
        command += ["--tmpfs", f"{folder}:rw,exec,mode=1777"]
    for name, value in _ENVIRONMENT.items():
        command += ["--env", f"{name}={value}"]
    return [*command, image, *_SCRIPT]


def make_chroot_command(root: Path, environment: Mapping[str, str]) -> list[str]:
    """Return the command that runs the script on stdin in the files of an image; for root.

    What it mounts is in a mount namespace of its own.
    """
    inside = ["chroot", str(root), "setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--no-new-privs"]
    inside += ["--bounding-set=-all", "--inh-caps=-all", "env", "--ignore-environment", "--chdir=/workspace"]
    inside += [f"{name}={value}" for name, value in {**environment, **_ENVIRONMENT}.items()]
    place = shlex.quote(str(root))
    lines = [
        "set -e",
        f"mount --bind {place} {place}",
        f"mount --options remount,bind,ro {place}",
        f"mount --types proc proc {place}/proc",
        f"mount --rbind /dev {place}/dev",
        *(f"mount --types tmpfs --options mode=1777 tmpfs {place}{folder}" for folder in _WRITABLE),
        shlex.join(["exec", *inside, *_SCRIPT]),
    ]
    return ["unshare", "--mount", "--pid", "--fork", "sh", "-c", "\n".join(lines)]


def read_image_environment(description: str) -> dict[str, str]:
    """Return the variables of an image from what `buildah inspect` says of it."""
    variables: list[str] = json.loads(description)["OCIv1"]["config"]["Env"]
    return dict(each.split("=", 1) for each in variables)
