"""A real `prefixfleet serve` on a workspace of many tenants with two versions each, and the expected answers.

The workspace is that of `harness.workspaces`, with larger weights, so that prefixes change what the base writes. MLflow
is an SQLite file. Knows the command line and the registry; does not know the clients.
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

_START_TIMEOUT_S = 600.0


@dataclass(frozen=True)
class ServedFleet:
    """The tenants of a workspace, with version 1 as champion, and the expected answers."""

    workspace: Workspace
    tenants: Sequence[str]
    versions: Sequence[str]
    sources: Sequence[str]
    expected_answers: Mapping[tuple[str, str, str], str]
    """(tenant, version, source) -> the text that this version writes when it runs alone; all texts are different."""


def make_fleet(
    root: Path, tenants: Sequence[str], slots: int, max_tokens: int, serve: Mapping[str, Any]
) -> ServedFleet:
    """Make a workspace in an empty folder and register two versions of every tenant."""
    write_workspace(root, [], {"serve": dict(serve)})
    rewrite_base(root / "base", scale_matrices)
    workspace, versions = Workspace(root), ("1", "2")
    base, registry = workspace.base, workspace.registry
    sources = [" ".join(str((7 * word + 31 * number) % 255) for word in range(4 + number)) for number in range(6)]
    answers: dict[tuple[str, str, str], str] = {}
    for version in versions:
        folders = {tenant: root / "made" / f"{tenant}-{version}" for tenant in tenants}
        for number, (tenant, folder) in enumerate(folders.items()):
            save_random_artifact(folder, base, tenant, slots, 2 * number + int(version), scale=2.0)
            delta, _ = load_artifact(folder, base)
            for source in sources:
                (answers[tenant, version, source],) = generate_text(
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
    by_source = [[text for (_, _, own), text in answers.items() if own == source] for source in sources]
    if any(len(set(texts)) < len(texts) for texts in by_source):
        raise SystemExit("two versions write the same text for one source: a wrong answer could not be detected")
    return ServedFleet(workspace, tenants, versions, sources, answers)


class ServerProcess:
    """A running `prefixfleet serve`."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.process, self.log_path = process, log
        self.url = ""

    def read_resident_bytes(self) -> int:
        """Return the resident memory of the process."""
        match = re.search(r"^VmRSS:\s+(\d+) kB$", Path(f"/proc/{self.process.pid}/status").read_text(), re.MULTILINE)
        return 1024 * int(match[1]) if match else 0

    def read_health(self) -> dict[str, Any]:
        """Return the content of /healthz."""
        health: dict[str, Any] = requests.get(f"{self.url}/healthz", timeout=60).json()
        return health

    def read_status_counts(self) -> dict[str, int]:
        """Return HTTP status -> number of requests, from the server's metrics; 499: the client disconnected."""
        counts: dict[str, int] = {}
        pattern = r'^prefixfleet_requests_total\{.*status="(\d+)".*\} (\S+)$'
        for status, count in re.findall(pattern, requests.get(f"{self.url}/metrics", timeout=60).text, re.MULTILINE):
            counts[status] = counts.get(status, 0) + int(float(count))
        return counts

    def wait_ready(self) -> float:
        """Wait until the server is ready and return the seconds that this took."""
        started = time.monotonic()
        while True:
            self.url = self.url or self._read_url()
            if self.url and requests.get(f"{self.url}/readyz", timeout=60).ok:
                return time.monotonic() - started
            if self.process.poll() is not None or time.monotonic() > started + _START_TIMEOUT_S:
                raise SystemExit(f"the server does not start:\n{self.log_path.read_text()}")
            time.sleep(0.05)

    def _read_url(self) -> str:
        match = re.search(r"serving on (\S+),", self.log_path.read_text())
        return match[1] if match else ""


@contextmanager
def run_server(root: Path, environment: Mapping[str, str] | None = None) -> Iterator[ServerProcess]:
    """Start a server on a free port; terminate it after the block."""
    log = root / "serve.log"
    command = [str(Path(sys.executable).with_name("prefixfleet")), "-C", str(root), "serve", "--port", "0"]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stderr=out, env={**os.environ, **(environment or {})})
    try:
        yield ServerProcess(process, log)
    finally:
        process.terminate()
        process.wait(90)
