"""A stand-in for the image of Python that infra/Dockerfile starts from, where no registry of images is reached.

It is Debian 12 with its own Python 3.11, made by debootstrap from Debian's packages. The Dockerfile's image has a newer
patch release of Python, in /usr/local.
"""

import subprocess
import tempfile
from pathlib import Path

from components.errors import WorkspaceError
from infra.images.engines import require_root

STAND_IN = "localhost/prefixfleet-python-stand-in:bookworm"
_PACKAGES = ("ca-certificates", "python3-venv", "python-is-python3")
_NEEDED = ("buildah", "debootstrap")


def make_stand_in(mirror: str = "http://deb.debian.org/debian") -> str:
    """Make the stand-in unless it is there; return its name.

    Raises:
        WorkspaceError: another user than root runs, a tool is missing, or a step failed.
    """
    require_root("to make Debian's files", _NEEDED)
    if subprocess.run(["buildah", "inspect", "--type", "image", STAND_IN], capture_output=True, check=False).returncode:
        with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
            _make(Path(folder), mirror)
    return STAND_IN


def _make(folder: Path, mirror: str) -> None:
    tree, packed = folder / "tree", folder / "tree.tar"
    include = f"--include={','.join(_PACKAGES)}"
    _run("debootstrap", "--variant=minbase", include, "bookworm", str(tree), mirror)
    _run("tar", "--directory", str(tree), "--create", "--file", str(packed), ".")
    container = _run("buildah", "from", "scratch")
    try:
        _run("buildah", "add", "--quiet", container, str(packed), "/")  # unpacks it
        _run("buildah", "commit", "--quiet", container, STAND_IN)
    finally:
        _run("buildah", "rm", container)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        got = "\n".join((done.stderr or done.stdout).strip().splitlines()[-5:])
        raise WorkspaceError(f"`{' '.join(command)}` to succeed", got, "check the network and the disk, and run again")
    return done.stdout.strip()
