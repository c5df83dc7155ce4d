"""Seconds and peak memory to plan a fleet of 10,000 tenants of 100 examples whose prefixes are all up to date.

    python benchmarks/planning.py [--tenants 10000] [--prefix-kib 64] [--rounds 3]

Alternately, each in its own process, with the files in the page cache: without an index of digests, with it, and with
a full check. All must make the same plan, which is compared tenant by tenant.
"""

import argparse
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness.options import format_spread
from harness.workspaces import make_tenant_ids, write_workspace

PLAN_MODES = ("without index", "with index", "full check")
SETTLE_S = 3.0
"""Age of a file in seconds from which its digest is cached."""


def main() -> None:
    """Make the workspace, plan alternately and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tenants", type=int, default=10_000)
    parser.add_argument("--prefix-kib", type=int, default=64, help="size of each tenant's tensors")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mode", choices=("build", *PLAN_MODES), help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.mode == "build":
        build_workspace(chosen.root, chosen.tenants, chosen.prefix_kib)
    elif chosen.mode:
        print(json.dumps(_time_plan(chosen.root, chosen.mode)))
    else:
        with tempfile.TemporaryDirectory() as folder:
            _compare(Path(folder), chosen)


def _compare(root: Path, chosen: argparse.Namespace) -> None:
    started = time.perf_counter()
    _run_in_process(root, chosen, "build")
    size = chosen.tenants * chosen.prefix_kib // 1024
    print(
        f"{chosen.tenants:,} tenants of 100 examples, {size:,} MB of tensors, in {time.perf_counter() - started:.0f} s"
    )
    time.sleep(SETTLE_S)
    _run_in_process(root, chosen, PLAN_MODES[0])  # fills the page cache
    results = {mode: [] for mode in PLAN_MODES}
    for _ in range(chosen.rounds):
        for mode, runs in results.items():
            runs.append(json.loads(_run_in_process(root, chosen, mode)))
    print(
        f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; median [least, greatest] of {chosen.rounds}"
    )
    for mode, runs in results.items():
        memory = format_spread([one["peak_mb"] for one in runs], ".0f")
        print(f"{mode:14} {format_spread([one['seconds'] for one in runs])} s   {memory} MB   {runs[0]['sentence']}")
    plans = {one["plan"] for runs in results.values() for one in runs}
    print("all plans are the same" if len(plans) == 1 else f"ERROR: {len(plans)} different plans")


def _run_in_process(root: Path, chosen: argparse.Namespace, mode: str) -> str:
    """Run one mode in its own process, to measure its own peak memory."""
    sizes = ("--tenants", str(chosen.tenants), "--prefix-kib", str(chosen.prefix_kib))
    command = [sys.executable, __file__, "--root", str(root), "--mode", mode, *sizes]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def build_workspace(root: Path, tenants: int, prefix_kib: int) -> None:
    """Write prefixes with valid manifests; the tensors are only bytes of that size, which planning does not read."""
    from components.registry.manifest import ARTIFACT_SCHEMA, MANIFEST_FILE, TENSORS_FILE, Manifest
    from components.stages.plan import plan
    from components.stages.workspace import Workspace

    write_workspace(root, make_tenant_ids(tenants), {"train": {"prefix_length": 8}})
    workspace = Workspace(root)
    planned = plan(workspace)
    shutil.rmtree(root / "var", ignore_errors=True)
    for number, item in enumerate(planned.items):
        content = number.to_bytes(8, "little") * (prefix_kib * 128)
        manifest = Manifest(
            schema_version=ARTIFACT_SCHEMA,
            tenant=item.tenant,
            base_name="base",
            base_digest=planned.base["digest"],
            tokenizer_digest=planned.base["tokenizer_digest"],
            prefix_length=item.train.prefix_length,
            method=item.train.method,
            dtype="float32",
            dataset_version=workspace.dataset_version,
            data_digest=item.data_digest,
            train=item.train.model_dump(mode="json"),
            fingerprint=item.fingerprint,
            sha256=hashlib.sha256(content).hexdigest(),
            parameters=len(content) // 4,
            shapes={f"decoder.self.{layer}.{kind}": [12, 8, 64] for layer in range(12) for kind in ("key", "value")},
        )
        folder = workspace.get_output_folder("train", item.tenant)
        folder.mkdir(parents=True)
        (folder / TENSORS_FILE).write_bytes(content)
        (folder / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=2))


def _time_plan(root: Path, mode: str) -> dict[str, object]:
    from components.stages.plan import plan
    from components.stages.workspace import Workspace

    if mode == PLAN_MODES[0]:
        (root / "var" / "digests").unlink(missing_ok=True)
    started = time.perf_counter()
    planned = plan(Workspace(root, full_check=mode == PLAN_MODES[2]))
    seconds = time.perf_counter() - started
    rows = [(item.tenant, item.fingerprint, item.reason) for item in (*planned.items, *planned.skipped)]
    return {
        "seconds": seconds,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "sentence": planned.sentence,
        "plan": hashlib.sha256(json.dumps(rows).encode()).hexdigest(),
    }


if __name__ == "__main__":
    main()
