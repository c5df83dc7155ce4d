"""Make `workspace_<revision>.tar.xz`, a workspace as a user of an older revision has it, with that revision's commands.

    python tests/compatibility/make_workspace.py CHECKOUT

CHECKOUT is a clone at that revision with its own `.venv`. The workspace holds two tenants on a tiny base: `alder` with
a champion, a challenger on trial, a tuning study and its override in params.yaml; `birch`, of another method, with a
champion that was rolled back once. `expected.json` in the archive holds what the old commands printed.
Prefect's database, pictures, git's hooks and DVC's temporary files are left out. workspace_43f0e9b.tar.xz was made with
revision 43f0e9b.
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from pathlib import Path

import yaml

TENANTS = ("alder", "birch")
SOURCES = ("thing: boat | colour: red", "thing: lamp | colour: blue | number: 7")
STRONG = {"initialization": "random", "learning_rate": 5.0}
"""Values with which prefixes show in the texts of a random base."""
PARAMS = {
    "base": {"path": "base"},
    "train": {"prefix_length": 2, "max_steps": 4, "warmup_steps": 1, "batch_size": 4, "validate_every": 2, **STRONG},
    "evaluate": {"max_new_tokens": 8, "bootstrap_samples": 20, "batch_size": 8, "lowercase": True},
    "gate": {"bootstrap_samples": 20, "min_slice": 2, "non_inferiority": []},
    "tenants": {
        "alder": {"rollout": {"policy": "canary"}},
        "birch": {"train": {"method": "prefix+adapter", "adapter_size": 2}},
    },
}
READY_LIMIT_S = 300
UNNEEDED = (
    "workspace/out/pictures",
    "workspace/var/prefect",
    "workspace/.git/hooks",
    "workspace/.git/logs",
    "workspace/.dvc/tmp",
    "workspace/.dvc/cache/runs",
)
INPUTS_CODE = """
import sys
from pathlib import Path
sys.path.insert(0, "tests")
import conftest
root = Path(sys.argv[1])
class Folders:
    def mktemp(self, name): return root
conftest.tiny_base.__wrapped__(Folders())
conftest.enliven(root)
for tenant in sys.argv[2:]:
    conftest.write_tenant(root / "drops", tenant)
"""
"""Makes the base and the drops of the old revision's own tests."""
PREDICT_CODE = """
import json, sys, mlflow
models = {name: mlflow.pyfunc.load_model(name) for name in sys.argv[2:]}
print(json.dumps({name: model.predict(json.loads(sys.argv[1])) for name, model in models.items()}))
"""


class OldCheckout:
    """The commands of the old revision, run on one workspace."""

    def __init__(self, folder: Path, workspace: Path) -> None:
        self.folder, self.workspace = folder, workspace
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW", "PREFIXFLEET"))},
            "PATH": f"{folder / '.venv/bin'}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(folder),
            "HF_HUB_OFFLINE": "1",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_TRACKING_URI": f"sqlite:///{workspace}/var/mlflow/mlflow.db",
            "LOGNAME": "operator",
            **{f"GIT_{role}_NAME": "A User" for role in ("AUTHOR", "COMMITTER")},
            **{f"GIT_{role}_EMAIL": "user@example.com" for role in ("AUTHOR", "COMMITTER")},
        }

    def run(self, *command: str, cwd: Path | None = None) -> str:
        done = subprocess.run(
            command, cwd=cwd or self.workspace, env=self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}\n{done.stdout}\n{done.stderr}")
        sys.stderr.write(f"{' '.join(command)[:150]}\n{done.stdout}{done.stderr}\n")
        return done.stdout

    def commit(self, message: str) -> None:
        self.run("git", "add", "-A")
        self.run("git", "commit", "-q", "-m", message)

    def serve_requests(self, count: int) -> None:
        """Answer so many requests for alder, which a server counts as observations of the running trial."""
        process = subprocess.Popen(
            ["prefixfleet", "serve", "--port", "0"],
            cwd=self.workspace,
            env=self.environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        url = next(line for line in process.stderr if "serving on " in line).split("serving on ")[1].split(",")[0]
        until_s = time.monotonic() + READY_LIMIT_S
        while not _is_ready(url):
            if time.monotonic() > until_s:
                raise SystemExit(f"the server at {url} was not ready after {READY_LIMIT_S} s")
            time.sleep(0.2)
        for number in range(count):
            body = {"model": "alder", "prompt": SOURCES[0], "max_tokens": 4, "user": f"user-{number}"}
            request = urllib.request.Request(
                f"{url}/v1/completions", json.dumps(body).encode(), {"content-type": "application/json"}
            )
            urllib.request.urlopen(request).read()
        process.terminate()
        process.communicate()


def _is_ready(url: str) -> bool:
    try:
        return urllib.request.urlopen(f"{url}/readyz").status == 200
    except OSError:
        return False


def make_workspace(old: OldCheckout, revision: str) -> dict[str, object]:
    """Do what a user does; returns what the commands printed at the end."""
    root = old.workspace
    old.run("python", "-c", INPUTS_CODE, str(root), *TENANTS, cwd=old.folder)
    write_params = (root / "params.yaml").write_text
    write_params(yaml.safe_dump(PARAMS, sort_keys=False))
    for name in ("dvc.yaml", ".gitignore", ".dvcignore"):
        shutil.copy(old.folder / name, root / name)
    old.run("git", "init", "-q", "-b", "main")
    old.run("dvc", "init", "-q")
    shutil.copytree(old.folder / ".dvc/plots", root / ".dvc/plots")
    old.run("dvc", "remote", "add", "-q", "-d", "local", "../remote")
    old.commit("Start")
    old.run("prefixfleet", "retrain")
    old.commit("Take two tenants' drops in and train both")

    tune = ("--trials", "3", "--metric", "validation-loss", "--lengths", "1,3", "--learning-rates", "1..9")
    old.run("prefixfleet", "tune", "alder", *tune)
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["tenants"]["birch"]["train"]["seed"] = 1
    write_params(yaml.safe_dump(params, sort_keys=False))
    old.run("prefixfleet", "retrain")
    old.commit("Tune alder, train both again")
    old.serve_requests(20)
    old.run("prefixfleet", "rollout")
    old.run("prefixfleet", "rollback", "birch")
    old.run("prefixfleet", "pause", "alder")
    key = old.run("prefixfleet", "keys", "create", "alder", "--note", "an application").strip()

    models = [f"models:/prefix-{tenant}/{number}" for tenant in TENANTS for number in (1, 2)]
    return {
        "revision": revision,
        "root": str(root),
        "key": key,
        "status": old.run("prefixfleet", "status"),
        "history": {tenant: _read_history(old, tenant) for tenant in TENANTS},
        "sources": SOURCES,
        "generated": {tenant: [_generate(old, tenant, source) for source in SOURCES] for tenant in TENANTS},
        "predicted": json.loads(old.run("python", "-c", PREDICT_CODE, json.dumps(SOURCES), *models).splitlines()[-1]),
    }


def _read_history(old: OldCheckout, tenant: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in old.run("prefixfleet", "history", tenant, "--json").splitlines()]


def _generate(old: OldCheckout, tenant: str, source: str) -> str:
    return old.run("prefixfleet", "generate", tenant, source).removesuffix("\n")


def main() -> None:
    checkout = Path(sys.argv[1]).resolve()
    revision = subprocess.run(
        ["git", "rev-parse", "--short=7", "HEAD"], cwd=checkout, capture_output=True, text=True, check=True
    ).stdout.strip()
    with tempfile.TemporaryDirectory(prefix="prefixfleet-old-") as scratch:
        top = Path(scratch).resolve()
        (top / "workspace").mkdir()
        old = OldCheckout(checkout, top / "workspace")
        expected = make_workspace(old, revision)
        old.run("git", "gc", "-q", "--prune=now")
        (top / "expected.json").write_text(json.dumps(expected, indent=1, ensure_ascii=False))
        for name in UNNEEDED:
            shutil.rmtree(top / name, ignore_errors=True)
        with tarfile.open(Path(__file__).with_name(f"workspace_{revision}.tar.xz"), "w:xz", preset=9) as archive:
            for name in ("expected.json", "remote", "workspace"):
                archive.add(top / name, name, filter=_anonymize)


def _anonymize(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    main()
