"""The side of the serving benchmark that goes through everything: a `prefixfleet serve`, MLflow's aliases, HTTP.

The clients' process takes processor time beside the server's. Knows the command line, the registry and HTTP.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import yaml
from harness.alternating_runs import WaitForTurn
from harness.prefixfleet_server import run_server
from harness.request_load import RequestLoad

from components.errors import PrefixFleetError
from components.registry.registry import Registration, RunLog
from components.serving.interface import GenerationRequest
from components.stages.workspace import Workspace
from contenders.serving import LoadAnswers, LoadLevel, answer_all

_TIMEOUT_S = 3600.0


def run_over_http(turn: WaitForTurn, load: RequestLoad, parts: Sequence[LoadLevel], rounds: int) -> dict[str, Any]:
    """Register the artifacts, start the server, and ask it; artifacts are resident before it counts."""
    most = max(part.in_flight for part in parts)
    with tempfile.TemporaryDirectory() as scratch:
        serve = {"rows": load.rows, "queue": 2 * most, "tenant_queue": 2 * most, "device_mb": 4096}
        params = {"base": {"path": str(load.folder), "dtype": load.dtype}, "serve": serve}
        (Path(scratch) / "params.yaml").write_text(yaml.safe_dump(params))
        _register_artifacts(Workspace(Path(scratch)), load)
        with run_server(Path(scratch)) as server:
            cold_s, found = server.wait_ready(), []
            asyncio.run(_ask_all(server.url, [load.make_request(number, most) for number in range(most)], 8))
            turn()
            for _ in range(rounds):
                for part in parts:
                    requests = [load.make_request(number, part.tenants) for number in range(part.request_count)]
                    found.append(asyncio.run(_ask_all(server.url, requests, part.in_flight)))
                    turn()
            return {"found": found, "cold_s": cold_s, "server_bytes": server.read_resident_bytes()}


def _register_artifacts(workspace: Workspace, load: RequestLoad) -> None:
    jobs = [
        Registration(
            tenant=artifact.tenant,
            artifact=load.store / artifact.sha256,
            base_path=str(load.folder),
            tags={},
            run_log=RunLog(),
            alias="champion",
        )
        for artifact in load.artifacts
    ]
    for made in workspace.registry.register_all(jobs).values():
        if isinstance(made, PrefixFleetError):
            raise made


async def _ask_all(url: str, requests: Sequence[GenerationRequest], in_flight: int) -> LoadAnswers:
    limits = httpx.Limits(max_connections=in_flight)
    async with httpx.AsyncClient(base_url=url, timeout=_TIMEOUT_S, limits=limits) as client:

        async def ask(request: GenerationRequest) -> AsyncIterator[tuple[str, int]]:
            body = {"model": request.artifact.tenant, "prompt": request.source, "max_tokens": request.max_tokens}
            answer = await client.post("/v1/completions", json={**body, "temperature": 0})
            told = answer.raise_for_status().json()
            yield told["choices"][0]["text"], told["usage"]["completion_tokens"]

        return await answer_all(ask, requests, in_flight)
