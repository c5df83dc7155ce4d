"""The contender of the serving benchmark that includes everything: `prefixfleet serve`, MLflow's aliases and HTTP.

The clients' process uses processor time besides the server's. Knows the command line, the registry and HTTP.
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


def run_over_http(
    wait_for_turn: WaitForTurn, load: RequestLoad, parts: Sequence[LoadLevel], rounds: int
) -> dict[str, Any]:
    """Register the artifacts, start the server, load all artifacts, then measure the requests."""
    most = max(part.in_flight for part in parts)
    with tempfile.TemporaryDirectory() as scratch:
        serve = {"rows": load.rows, "queue": 2 * most, "tenant_queue": 2 * most, "device_mb": 4096}
        params = {"base": {"path": str(load.folder), "dtype": load.dtype}, "serve": serve}
        (Path(scratch) / "params.yaml").write_text(yaml.safe_dump(params))
        _register_artifacts(Workspace(Path(scratch)), load)
        with run_server(Path(scratch)) as server:
            cold_s, results = server.wait_ready(), []
            asyncio.run(_ask_all(server.url, [load.make_request(number, most) for number in range(most)], 8))
            wait_for_turn()
            for _ in range(rounds):
                for part in parts:
                    requests = [load.make_request(number, part.tenants) for number in range(part.request_count)]
                    results.append(asyncio.run(_ask_all(server.url, requests, part.in_flight)))
                    wait_for_turn()
            return {"results": results, "cold_s": cold_s, "server_bytes": server.read_resident_bytes()}


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
    for result in workspace.registry.register_all(jobs).values():
        if isinstance(result, PrefixFleetError):
            raise result


async def _ask_all(url: str, requests: Sequence[GenerationRequest], in_flight: int) -> LoadAnswers:
    limits = httpx.Limits(max_connections=in_flight)
    async with httpx.AsyncClient(base_url=url, timeout=_TIMEOUT_S, limits=limits) as client:

        async def ask(request: GenerationRequest) -> AsyncIterator[tuple[str, int]]:
            body = {"model": request.artifact.tenant, "prompt": request.source, "max_tokens": request.max_tokens}
            answer = await client.post("/v1/completions", json={**body, "temperature": 0})
            content = answer.raise_for_status().json()
            yield content["choices"][0]["text"], content["usage"]["completion_tokens"]

        return await answer_all(ask, requests, in_flight)
