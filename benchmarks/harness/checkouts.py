"""Make a git and DVC repository of a workspace, as a fleet's owner has it. Knows no stage."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


def make_checkout(root: Path, remote: str, endpoint: str | None = None, *, push: bool = True) -> None:
    """Put a workspace with params.yaml, base/ and data/ under git and DVC; push its data to the DVC remote `remote`.

    `endpoint` is the URL of the S3 server, if `remote` is a `s3://` URL. Without `push`, the caller sends the data.
    """
    (root / "data.dvc").unlink(missing_ok=True)
    for name in ("dvc.yaml", ".gitignore", ".dvcignore"):
        shutil.copy(PROJECT / name, root / name)
    for command in ("git init -q", "dvc init -q", f"dvc remote add -q -d store {remote}"):
        run_command(root, *command.split())
    if endpoint is not None:
        run_command(root, "dvc", "remote", "modify", "-q", "store", "endpointurl", endpoint)
    shutil.copytree(PROJECT / ".dvc" / "plots", root / ".dvc" / "plots")
    author = "-c user.name=bench -c user.email=bench@example.com"
    sending = ["dvc push -q data.dvc"] if push else []
    for command in ("dvc add -q data", *sending, "git add -A", f"git {author} commit -q -m start"):
        run_command(root, *command.split())


def run_command(root: Path, *command: str) -> str:
    """Run a command in `root` with this environment's programs; return its output. Ends the benchmark if it fails."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, cwd=root, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} exited {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout
