"""Builds the image and runs a script in it, with the container engine that this machine has.

Does not know what the script proves.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from components.errors import WorkspaceError
from infra.images.commands import make_build_command, make_chroot_command, make_run_command, read_image_environment

ENGINES = ("docker", "podman", "buildah")
_CHROOT_TOOLS = ("chroot", "mount", "unshare")


def find_engine(wanted: str | None = None) -> str:
    """Return the engine that is wanted, or the first one that works.

    Raises:
        WorkspaceError: none works.
    """
    for engine in ENGINES if wanted is None else (wanted,):
        if shutil.which(engine) and _call([engine, "info"]).returncode == 0:
            return engine
    got = "none that answers `info`" if wanted is None else f"no answer of `{wanted} info`"
    fix = "install one and start its service, if it has one (Debian: `apt-get install buildah`, which needs root)"
    raise WorkspaceError(f"a container engine ({wanted or ', '.join(ENGINES)})", got, fix)


def build_image(engine: str, image: str, target: str, base: str | None = None, options: Sequence[str] = ()) -> None:
    """Build a target of infra/Dockerfile; the engine's output goes to stderr.

    Raises:
        WorkspaceError: the build failed.
    """
    command = make_build_command(engine, image, target, base, options)
    code = subprocess.run(command, stdout=2, check=False).returncode
    if code != 0:
        got = f"exit code {code} of `{' '.join(command)}`"
        raise WorkspaceError(f"the image {image} built by {engine}", got, "read the lines above")


def run_script(engine: str, image: str, script: Path) -> int:
    """Run a Python script in a container of an image; return its exit code.

    Raises:
        WorkspaceError: buildah runs as another user than root, or a tool that it needs is missing.
    """
    if engine == "buildah":
        return _run_in_chroot(image, script)
    return _pass_script(make_run_command(engine, image), script)


def require_root(what: str, tools: Sequence[str]) -> None:
    """Refuse where another user than root runs, or a tool is missing.

    Raises:
        WorkspaceError: so it is.
    """
    if os.geteuid() != 0:
        raise WorkspaceError(f"root, {what}", f"user {os.geteuid()}", "run as root, or use docker or podman")
    if missing := [tool for tool in tools if shutil.which(tool) is None]:
        fix = f"install them (Debian: `apt-get install {' '.join(missing)}`)"
        raise WorkspaceError(f"{', '.join(tools)}, {what}", f"no {', '.join(missing)} on PATH", fix)


def _run_in_chroot(image: str, script: Path) -> int:
    require_root("to enter the image's files", _CHROOT_TOOLS)
    description = _ask("buildah", "inspect", "--type", "image", image)
    container = _ask("buildah", "from", "--pull-never", image)
    try:
        root = Path(_ask("buildah", "mount", container))
        return _pass_script(make_chroot_command(root, read_image_environment(description)), script)
    finally:
        _ask("buildah", "rm", container)


def _pass_script(command: Sequence[str], script: Path) -> int:
    with script.open("rb") as stream:
        return subprocess.run(command, stdin=stream, check=False).returncode


def _ask(*command: str) -> str:
    done = _call(command)
    if done.returncode != 0:
        raise WorkspaceError(f"`{' '.join(command)}` to succeed", done.stderr.strip(), "read the engine's message")
    return done.stdout.strip()


def _call(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, check=False)
