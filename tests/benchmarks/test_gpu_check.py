"""What `gpu_check.sh` needs: its list of packages is complete, and a machine without them gets a clear error."""

import importlib.metadata
import os
import subprocess
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu_check.sh"


def test_the_list_of_packages_holds_all_that_they_need_and_is_locked() -> None:
    lines = (ROOT / "benchmarks" / "gpu_packages.txt").read_text().splitlines()
    listed = {canonicalize_name(line) for line in lines if not line.startswith("#")}
    locked = {canonicalize_name(line.split("==")[0]) for line in (ROOT / "requirements.lock").read_text().splitlines()}
    needed = set()
    for name in listed:
        for text in importlib.metadata.requires(name) or []:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                needed.add(canonicalize_name(requirement.name))
    assert needed - listed == {"torch"}
    assert listed <= locked


def test_a_machine_without_the_packages_is_told_how_to_get_them(tmp_path: Path) -> None:
    bare = tmp_path / "python"
    bare.write_text("#!/bin/sh\necho a package warns\necho \"Python 3.12: No module named 'torch'\"\n")
    bare.chmod(0o755)
    environment = {**os.environ, "PYTHON": str(bare), "GPU_CHECK_FOLDER": str(tmp_path / "out")}
    environment.pop("GPU_WHEELS", None)
    done = subprocess.run([SCRIPT], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 2
    assert "got: Python 3.12: No module named 'torch'; fix: make gpu-wheels GPU_PYTHON=" in done.stderr


def test_a_folder_without_wheels_is_refused(tmp_path: Path) -> None:
    environment = {**os.environ, "GPU_WHEELS": str(tmp_path), "GPU_CHECK_FOLDER": str(tmp_path / "out")}
    done = subprocess.run([SCRIPT], capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert "wheels in GPU_WHEELS" in done.stderr
