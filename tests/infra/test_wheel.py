"""The wheel, installed into an environment of its own, makes workspaces in which everything works."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import httpx
import pytest
import yaml
from processes import make_environment
from waiting import wait_until
from workspaces import PROJECT, write_tenant

pytestmark = pytest.mark.slow
_COPIED = ("cli", "components", "flows", "base", "infra", ".dvc", "pyproject.toml", "README.md")
_FILES = ("dvc.yaml", "prefect.yaml", ".dvcignore", "LICENSE")


@pytest.fixture(scope="module")
def programs(tmp_path_factory) -> Path:
    """The folder of programs of a clean environment with the wheel; its dependencies are this environment's."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in (*_COPIED, *_FILES):
        path = PROJECT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__", "tmp", "cache"))
        else:
            shutil.copy(path, source / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    build = [*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder), str(source)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    environment = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    subprocess.run(
        [*pip, "--python", str(environment / "bin" / "python"), "install", "-q", "--no-deps", str(wheel)],
        check=True,
        capture_output=True,
    )
    (site,) = environment.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))  # its own .pth files are not read
    return environment / "bin"


def run(programs: Path, *command: str, cwd: Path, code: int = 0) -> str:
    done = subprocess.run(
        [str(programs / command[0]) if (programs / command[0]).exists() else command[0], *command[1:]],
        cwd=cwd,
        env=clean(programs),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    assert "torchao" not in done.stderr  # what a package says about itself when it is imported
    return done.stdout


def clean(programs: Path) -> dict[str, str]:
    """The environment of a user who has only the wheel's programs, and DVC's and Prefect's."""
    left_out = {"PYTHONPATH", "VIRTUAL_ENV", "PREFIXFLEET_WORKSPACE"}
    values = {name: value for name, value in make_environment(own_prefect=True).items() if name not in left_out}
    identity = {f"GIT_{role}_{key}": "t@example.com" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
    return {**values, **identity, "PATH": f"{programs}{os.pathsep}{values['PATH']}"}


def test_a_workspace_of_the_installed_product_trains_reproduces_and_serves(programs, tmp_path):
    where = run(programs, "python", "-c", "import components; print(components.__file__)", cwd=tmp_path)
    assert where.startswith(str(programs.parent))
    run(programs, "prefixfleet", "init", "fleet", "--remote", "store", cwd=tmp_path)
    root = tmp_path / "fleet"
    values = yaml.safe_load((root / "params.yaml").read_text())
    values["train"] |= {"prefix_length": 2, "max_steps": 4}
    values["evaluate"] |= {"max_new_tokens": 8}
    values["serve"] = {**values.get("serve", {}), "console": True}
    (root / "params.yaml").write_text(yaml.safe_dump(values))
    for tenant in ("alder", "birch"):
        write_tenant(root / "drops", tenant)
    run(programs, "prefixfleet", "retrain", cwd=root)
    assert {one["tenant"] for one in json.loads(run(programs, "prefixfleet", "status", "--json", cwd=root))["tenants"]}
    assert "up to date" in run(programs, "dvc", "repro", cwd=root)
    run(programs, "prefixfleet", "upgrade", cwd=root)
    assert run(programs, "prefixfleet", "generate", "alder", "thing: boat", cwd=root)
    log = root / "serve.log"
    serve = [str(programs / "prefixfleet"), "serve", "--port", "0"]
    with log.open("wb") as errors, subprocess.Popen(serve, cwd=root, env=clean(programs), stderr=errors) as server:
        try:
            wait_until(lambda: "serving on" in log.read_text(), "the server's address")
            url = log.read_text().split("serving on ")[1].split(",")[0]
            wait_until(lambda: httpx.get(f"{url}/readyz", timeout=60).is_success, "the server to be ready")
            body = {"model": "alder", "prompt": "thing: boat"}
            answer = httpx.post(f"{url}/v1/completions", json=body, timeout=60)
            pages = [httpx.get(f"{url}/console/{path}", timeout=60) for path in ("", "static/console.css")]
        finally:
            server.terminate()
    assert (answer.status_code, server.returncode) == (200, 0)
    assert [page.status_code for page in pages] == [200, 200]
