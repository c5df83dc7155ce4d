"""A real `prefixfleet serve` on a workspace of many tenants with two versions each, and what every one must write.

The workspace is that of `harness.workspaces`, its weights scaled up so that prefixes show in what the base writes;
MLflow is a sqlite file. Knows the command line and the registry; does not know who asks.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from components.errors import PrefixFleetError
from components.model.decoding import Decoding, generate_text
from components.registry.artifact import load_artifact
from components.registry.registry import Registration, RunLog
from components.stages.workspace import Workspace
from harness.request_load import save_random_artifact
from harness.weight_scaling import rewrite_base, scale_matrices
from harness.workspaces import write_workspace

_START_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class ServedFleet:
    """Tenants of a workspace, version 1 of each its champion, and the right answers."""

    workspace: Workspace
    tenants: Sequence[str]
    versions: Sequence[str]
    sources: Sequence[str]
    expected_answers: Mapping[tuple[str, str, str], str]
    """(tenant, version, source) -> what that version writes alone, all of them different."""


def make_fleet(
    root: Path, tenants: Sequence[str], slots: int, max_tokens: int, serve: Mapping[str, Any]
) -> ServedFleet:
    """Make a workspace in an empty folder and register two versions of every tenant."""
    write_workspace(root, [], {"serve": dict(serve)})
    rewrite_base(root / "base", scale_matrices)
    workspace, versions = Workspace(root), ("1", "2")
    base, registry = workspace.base, workspace.registry
    sources = [" ".join(str((7 * word + 31 * number) % 255) for word in range(4 + number)) for number in range(6)]
    right: dict[tuple[str, str, str], str] = {}
    for version in versions:
        folders = {tenant: root / "made" / f"{tenant}-{version}" for tenant in tenants}
        for number, (tenant, folder) in enumerate(folders.items()):
            save_random_artifact(folder, base, tenant, slots, 2 * number + int(version), scale=2.0)
            delta, _ = load_artifact(folder, base)
            for source in sources:
                (right[tenant, version, source],) = generate_text(
                    base, delta, [source], Decoding(max_new_tokens=max_tokens), 1
                )
        jobs = [
            Registration(tenant=tenant, artifact=folder, base_path="base", tags={}, run_log=RunLog(), alias="champion")
            for tenant, folder in folders.items()
        ]
        for made in registry.register_all(jobs).values():
            if isinstance(made, PrefixFleetError):
                raise made
    for tenant in tenants:
        registry.set_alias(tenant, "champion", versions[0])
    by_source = [[text for (_, _, asked), text in right.items() if asked == source] for source in sources]
    if any(len(set(texts)) < len(texts) for texts in by_source):
        raise SystemExit("every version must answer a source in its own way, or a mistake would not show")
    return ServedFleet(workspace, tenants, versions, sources, right)


class ServerProcess:
    """A running server."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.process, self.log_path = process, log
        self.url = ""

    def read_resident_bytes(self) -> int:
        """Memory of the process."""
        found = re.search(r"^VmRSS:\s+(\d+) kB$", Path(f"/proc/{self.process.pid}/status").read_text(), re.MULTILINE)
        return 1024 * int(found[1]) if found else 0

    def read_health(self) -> dict[str, Any]:
        """What /healthz tells."""
        told: dict[str, Any] = requests.get(f"{self.url}/healthz", timeout=60).json()
        return told

    def read_status_counts(self) -> dict[str, int]:
        """HTTP status -> requests that the server says it has answered so, 499 for callers who left."""
        counts: dict[str, int] = {}
        pattern = r'^prefixfleet_requests_total\{.*status="(\d+)".*\} (\S+)$'
        for status, count in re.findall(pattern, requests.get(f"{self.url}/metrics", timeout=60).text, re.MULTILINE):
            counts[status] = counts.get(status, 0) + int(float(count))
        return counts

    def wait_ready(self) -> float:
        """Seconds until it is ready."""
        began = time.monotonic()
        while True:
            self.url = self.url or self._read_url()
            if self.url and requests.get(f"{self.url}/readyz", timeout=60).ok:
                return time.monotonic() - began
            if self.process.poll() is not None or time.monotonic() > began + _START_TIMEOUT_S:
                raise SystemExit(f"the server does not start:\n{self.log_path.read_text()}")
            time.sleep(0.05)

    def _read_url(self) -> str:
        found = re.search(r"serving on (\S+),", self.log_path.read_text())
        return found[1] if found else ""


@contextmanager
def run_server(root: Path, environment: Mapping[str, str] | None = None) -> Iterator[ServerProcess]:
    """Start it on any free port; told to end after the block."""
    log = root / "serve.log"
    command = [str(Path(sys.executable).with_name("prefixfleet")), "-C", str(root), "serve", "--port", "0"]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stderr=out, env={**os.environ, **(environment or {})})
    try:
        yield ServerProcess(process, log)
    finally:
        process.terminate()
        process.wait(90)
