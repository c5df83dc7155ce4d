"""A whole server in this process on a tiny base; its engine is a small one of our own, which decodes row by row."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest

from components.errors import ArtifactError
from components.model.decoding import Decoding, generate_text
from components.model.prefix.prefix import Prefix
from components.registry.artifact import load_artifact, save_artifact
from components.registry.registry import Registry, RunLog
from components.rollout.store.database import open_database
from components.serving.http.app import build_app
from components.serving.http.build import build_service
from components.serving.http.service import Service
from components.serving.interface import AnswerPiece, ArtifactRef, BusyError, EngineHealth, GenerationRequest, Token
from components.stages.workspace import Workspace
from components.storage.database import Database


class SmallAnswer:
    def __init__(self, engine: "SmallEngine", text: str, finish: str) -> None:
        self._engine, self._text, self._finish = engine, text, finish
        self.prompt_tokens = 3
        self.cancelled = False

    async def __aiter__(self) -> AsyncIterator[AnswerPiece]:
        words = self._text.split(" ")
        for number, word in enumerate(words):
            while not self._engine.may_go_on.is_set():
                await asyncio.sleep(0.01)
            last = number == len(words) - 1
            text = word if last else f"{word} "
            yield AnswerPiece(text, (Token(text, -0.5, ((text, -0.5),)),), self._finish if last else None)

    def cancel(self) -> None:
        self.cancelled = True
        self._engine.cancelled.append(self)


class NoArtifacts:
    """Of an engine that holds none."""

    owners: ClassVar[dict[str, str]] = {}
    store_error = ""

    async def preload(self, artifact: ArtifactRef) -> None:
        pass


class SmallEngine:
    """The protocol on `generate_text`; `may_go_on` holds its answers back, `full` makes it busy."""

    def __init__(self, workspace: Workspace, registry: Registry) -> None:
        self._workspace, self._registry = workspace, registry
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.full = False
        self.queued = 0
        self.broken: set[str] = set()
        self.requests: list[GenerationRequest] = []
        self.base_name, self.base_digest = workspace.base.name, workspace.base.digest
        self.artifact_cache = NoArtifacts()
        self.cancelled: list[SmallAnswer] = []

    async def submit(self, request: GenerationRequest) -> SmallAnswer:
        if self.full:
            raise BusyError("a place in the queue", "a full one", "try again", retry_after=2.5)
        if request.artifact.sha256 in self.broken:
            raise ArtifactError("a whole artifact", "a torn one in /secret/place", "restore it")
        self.requests.append(request)
        return SmallAnswer(self, await asyncio.to_thread(self._generate, request), "length")

    def _generate(self, request: GenerationRequest) -> str:
        artifact = request.artifact
        versions = self._registry.find_versions(artifact.tenant)
        version = next(one for one in versions if one.version == artifact.version)
        folder = self._registry.fetch(version, self._workspace.get_champion_folder(version))
        delta, _ = load_artifact(folder, self._workspace.base)
        decoding = Decoding(
            max_new_tokens=request.max_tokens,
            temperature=request.temperature,
            seed=request.seed + request.sample_index,
            guidance=request.guidance,
        )
        return generate_text(self._workspace.base, delta, [request.source], decoding, 1)[0]

    def health(self) -> EngineHealth:
        return EngineHealth(True, len(self.requests), self.queued, 1, 0, 1000)

    async def drain(self) -> None:
        self.may_go_on.set()


class Fleet:
    """A workspace with a registry, to register prefixes in and to serve from."""

    def __init__(self, root: Path) -> None:
        self.open(root)

    def open(self, root: Path) -> None:
        """Read params.yaml anew, and begin with a new engine."""
        self.workspace = Workspace(root)
        self.registry = self.workspace.registry
        self.engine = SmallEngine(self.workspace, self.registry)

    @property
    def database(self) -> Database:
        return open_database(self.workspace.params, self.workspace.root)

    def register(self, tenant: str, seed: int, *aliases: str, form: str = "", mark: str = "0", length: int = 2) -> str:
        """Register a random prefix, of the same values for the same seed; returns its version."""
        import torch

        base, folder = self.workspace.base, self.workspace.root / "made" / tenant
        generator = torch.Generator().manual_seed(seed)
        size = (base.shape.kv_heads, length, base.shape.head_dim)
        names = [f"decoder.self.{layer}.{kind}" for layer in range(base.shape.layers) for kind in ("key", "value")]
        save_artifact(
            folder,
            Prefix({name: torch.randn(size, generator=generator) * 2 for name in names}),
            tenant=tenant,
            base_name=base.name,
            base_digest=base.digest,
            tokenizer_digest=base.tokenizer_digest,
            dataset_version="d" * 32,
            data_digest="e" * 64,
            train={"prefix_length": length},
            fingerprint=f"{seed:x}".rjust(64, mark),
        )
        version = self.registry.register(tenant, folder, "base", {"record_form": form}, RunLog()).version
        for alias in aliases:
            self.registry.set_alias(tenant, alias, version)
        return version

    @contextmanager
    def serving(self, *, is_open: bool = True) -> Iterator[Service]:
        """The parts of a server, without one."""
        database = self.database
        try:
            yield build_service(
                self.workspace, self.workspace.params, database, allows_anonymous=is_open, load=lambda: self.engine
            )
        finally:
            database.close()

    async def load(self, service: Service) -> None:
        await service.engine.load()
        await service.fleet.refresh()


@pytest.fixture
def fleet(make_root: Callable[..., Path]) -> Fleet:
    """Two tenants with a champion each."""
    made = Fleet(make_root((), base={"path": "base"}, evaluate={"max_new_tokens": 6}))
    made.register("alder", 1, "champion")
    made.register("birch", 2, "champion")
    return made


@pytest.fixture
def ask(fleet: Fleet) -> Callable[..., Any]:
    """Run a function of (client, service) against the whole application in this process."""

    def run(talk: Callable[[httpx.AsyncClient, Service], Any], *, is_open: bool = True, loaded: bool = True) -> Any:
        async def main() -> Any:
            with fleet.serving(is_open=is_open) as service:
                if loaded:
                    await fleet.load(service)

                transport = httpx.ASGITransport(build_app(service), raise_app_exceptions=False)
                async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                    return await talk(client, service)

        return asyncio.run(main())

    return run
