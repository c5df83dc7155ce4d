"""Reads Terraform's files, and evaluates modules without a provider: neither needs a network."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TERRAFORM = shutil.which("terraform")
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("TF_")},
    "CHECKPOINT_DISABLE": "1",
    "TF_IN_AUTOMATION": "1",
}


def run_terraform(*arguments: str | Path, folder: Path) -> str:
    """Run a command of Terraform and return its output."""
    assert TERRAFORM
    command = [TERRAFORM, *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def evaluate(module: Path, variables: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Apply a module that has no provider in an empty folder, and return its outputs."""
    call = {"source": str(module), **variables}
    outputs = {name: {"value": f"${{module.tried.{name}}}"} for name in list_outputs(module)}
    main = {"module": {"tried": call}, "output": outputs}
    (folder / "main.tf.json").write_text(json.dumps(main), encoding="utf-8")
    run_terraform("init", "-input=false", folder=folder)
    run_terraform("apply", "-auto-approve", "-input=false", folder=folder)
    found = json.loads(run_terraform("output", "-json", folder=folder))
    return {name: each["value"] for name, each in found.items()}


def list_outputs(module: Path) -> list[str]:
    """Return the names of a module's outputs."""
    lines = (module / "outputs.tf").read_text(encoding="utf-8").splitlines()
    return [line.split('"')[1] for line in lines if line.startswith("output ")]


def read_module(folder: Path) -> dict[str, dict[str, Any]]:
    """Return address, such as `aws_s3_bucket.fleet`, `data.aws_region.current` or `variable.name` -> body."""
    import hcl2

    options = hcl2.SerializationOptions(with_comments=False, explicit_blocks=False, strip_string_quotes=True)
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("*.tf")):
        with path.open(encoding="utf-8") as file:
            document = hcl2.load(file, serialization_options=options)
        for kind, blocks in document.items():
            for block in blocks if isinstance(blocks, list) else []:
                found |= dict(_list_bodies(kind, block))
    return found


def _list_bodies(kind: str, block: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    if kind in ("resource", "data"):
        for name, named in block.items():
            for label, body in named.items():
                yield f"{'data.' if kind == 'data' else ''}{name}.{label}", body
    elif kind == "locals":
        for name, value in block.items():
            yield f"local.{name}", {"value": value}
    elif kind in ("variable", "output", "module"):
        for name, body in block.items():
            yield f"{kind}.{name}", body
