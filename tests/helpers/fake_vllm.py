"""A server with the part of vLLM's protocol that the remote engine uses, for tests without vLLM's environment.

It answers greedily by this project's own decoding, with the artifacts of a folder, and takes the plugin's orders. What
a real vLLM with the plugin does is tested where that environment is.
"""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from processes import find_free_port
from waiting import wait_until

from components.config import BaseConfig
from components.errors import PrefixFleetError
from components.model.base.load import Base, load_base
from components.model.decoding import Decoding, generate_each
from components.registry.artifact import load_artifact
from components.registry.manifest import Manifest, find_lora_layers
from components.serving.remote.addresses import EngineAddresses
from components.serving.remote.server_client import ServerClient
from components.serving.remote.server_group import ServerGroup

KEY = "prefixfleet"
DEAD_ENGINE = {"message": "EngineCore encountered an issue.", "type": "InternalServerError", "code": 500}
"""What vLLM's answers end with when its engine's process has died."""
_model_lock = threading.Lock()
"""Held by the server that computes, as several may have the same model."""


def make_group(entries: Sequence[str], base_digest: str, **options: Any) -> ServerGroup:
    """Return a group of engines; `options` as of `EngineAddresses`."""
    addresses = EngineAddresses(entries, **options)
    return ServerGroup(addresses, lambda url, dropped: ServerClient(url, base_digest, pending_drops=dropped))


class FakeVllm:
    """What one server has seen, and how it shall fail."""

    def __init__(self, base: Base) -> None:
        self.base = base
        self.url = ""
        self.bodies: list[dict[str, Any]] = []
        self.traceparents: list[str] = []
        """W3C's header of each answer that was asked for; "": none."""
        self.orders: list[dict[str, Any]] = []
        self.cancelled = 0
        self.breaks_after: int | None = None
        """Tokens of each answer after which the connection breaks; None: it does not."""
        self.error: dict[str, Any] | None = None
        """What every answer reports instead of tokens."""
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.dies_after: int | None = None
        """Tokens of each answer after which it reports that its engine has died, and is no longer well; None: never."""
        self.is_well = True
        self.is_silent = False
        """Whether health checks get no answer."""
        self.base_digests = [base.digest]
        self.max_lora_rank = 0
        """0: it has no LoRA."""
        self.lora_layers: set[str] | None = None
        """Last names of the layers that its LoRA changes; None: all."""
        self.can_read_store = True
        self.warning = ""
        """Part of its status."""

    def compute_ids(self, body: dict[str, Any]) -> tuple[list[int], str]:
        """Return the answer's ids as vLLM has them, the end included, and why it ended."""
        named = body["kv_transfer_params"][KEY]
        delta, manifest = load_artifact(Path(urlsplit(named["address"]).path), self.base)
        assert body["cache_salt"] == named["sha256"] == manifest.sha256
        assert named["tenant"] == manifest.tenant
        assert named.get("method", "prefix") == manifest.method
        assert named.get("length", 0) == delta.length
        assert manifest.method != "lora" or manifest.train["lora_rank"] <= self.max_lora_rank
        source, limit = body["prompt"][delta.length :], body["max_tokens"]
        decoding = Decoding(max_new_tokens=limit, min_new_tokens=body["min_tokens"])
        with _model_lock:
            (ids,) = generate_each(self.base, [delta], [source], decoding, 1)
        return ([*ids], "length") if len(ids) == limit else ([*ids, self.base.eos_id], "stop")

    async def stream(self, body: dict[str, Any]) -> AsyncIterator[str]:
        try:
            ids, reason = await asyncio.to_thread(self.compute_ids, body)
            for number, token in enumerate(ids):
                if self.breaks_after == number:
                    raise ConnectionAbortedError
                if self.dies_after == number:
                    self.is_well = False
                    yield f"data: {json.dumps({'error': DEAD_ENGINE})}\n\ndata: [DONE]\n\n"
                    return
                while not self.may_answer.is_set():
                    await asyncio.sleep(0.01)
                logprobs = None
                if "logprobs" in body:
                    top = {f"token_id:{token}": -0.5, "token_id:3": -1.5, "token_id:4": -2.5}
                    logprobs = {"token_logprobs": [-0.5], "top_logprobs": [top], "tokens": [f"token_id:{token}"]}
                finish = reason if number == len(ids) - 1 else None
                choice = {"index": 0, "text": "", "token_ids": [token], "logprobs": logprobs, "finish_reason": finish}
                yield f"data: {json.dumps({'choices': [choice]})}\n\n"
            yield "data: [DONE]\n\n"
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled += 1
            raise

    def find_refused_layers(self, manifest: Manifest) -> list[str]:
        """Return the layers of a LoRA artifact that this server's LoRA does not change."""
        layers = {path.rpartition(".")[2] for path in find_lora_layers(manifest.shapes)}
        return sorted(layers - (layers if self.lora_layers is None else self.lora_layers))

    def carry_out(self, order: dict[str, Any]) -> dict[str, Any]:
        if "status" not in order:
            self.orders.append(order)
        if "load" in order:
            if not self.can_read_store:
                return {"loaded": False, "kind": "store", "error": "no route to the store"}
            try:
                _, manifest = load_artifact(Path(urlsplit(order["load"]["address"]).path), self.base)
                if refused := self.find_refused_layers(manifest):
                    return {"loaded": False, "kind": "setup", "error": f"no LoRA for {refused[0]}"}
            except PrefixFleetError as problem:
                return {"loaded": False, "kind": "artifact", "error": str(problem)}
            return {"loaded": True}
        if "drop" in order:
            return {"dropped": 1}
        return {
            "artifacts": {},
            "errors": {},
            "base_digests": self.base_digests,
            "max_lora_rank": self.max_lora_rank,
            "warning": self.warning,
        }

    def build_app(self) -> FastAPI:
        """Build the server's application."""
        app = FastAPI()

        @app.get("/health")
        async def health() -> Response:
            while self.is_silent:
                await asyncio.sleep(0.01)
            return Response(status_code=200 if self.is_well else 503)

        @app.post("/v1/completions")
        async def complete(request: Request) -> Response:
            body = await request.json()
            named = body["kv_transfer_params"][KEY]
            if {"load", "drop", "status"} & set(named):
                return JSONResponse({"kv_transfer_params": {KEY: self.carry_out(named)}})
            self.bodies.append(body)
            self.traceparents.append(request.headers.get("traceparent", ""))
            if not self.can_read_store:
                return JSONResponse({"error": {"message": "EngineCore failed to load", "code": 500}}, 500)
            if self.error is not None:
                return JSONResponse({"error": self.error}, self.error["code"])
            return StreamingResponse(self.stream(body), media_type="text/event-stream")

        return app


@contextmanager
def run_fake_vllm(base: Base, port: int | None = None, *, host: str = "127.0.0.1") -> Iterator[FakeVllm]:
    """Run one server on a port of this machine, until the end of the block."""
    fake = FakeVllm(base)
    config = uvicorn.Config(
        fake.build_app(), host=host, port=port or find_free_port(), log_level="error", lifespan="off"
    )
    server = uvicorn.Server(config)
    fake.url = f"http://{host}:{config.port}"
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started, "the fake vLLM")
        yield fake
    finally:
        fake.may_answer.set()
        fake.is_silent = False
        server.force_exit = server.should_exit = True
        thread.join()


def serve_forever(base_folder: str, port: int) -> None:
    """Run one server in this process until SIGTERM, after which it finishes its answers."""
    base = load_base(BaseConfig(path=base_folder, dtype="float32"), device="cpu")
    uvicorn.run(FakeVllm(base).build_app(), host="127.0.0.1", port=port, log_level="error", lifespan="off")
