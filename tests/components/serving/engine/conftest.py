"""A running engine over a tiny base, its tenants' artifacts in a store, and what its rows would write alone."""

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from components.config import TrainConfig
from components.errors import ArtifactError, RegistryError
from components.model.base.attention_sites import find_prefix_shape
from components.model.base.load import Base
from components.model.decoding import Decoding, generate_each, make_requests
from components.model.delta import Delta, to_delta
from components.model.prefix.prefix import Prefix
from components.registry.artifact import copy_artifact, save_artifact
from components.serving.engine import BatchEngine, EngineLimits
from components.serving.engine.artifacts.cache import ArtifactCache, ArtifactMemoryLimits
from components.serving.interface import AnswerPiece, ArtifactRef, GenerationRequest

SOURCES = ("name Loch Fyne", "a", "near The Bakers, riverside", "eat type pub. food Italian, price cheap", "x y z")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def random_prefix() -> Callable[..., Prefix]:
    """A function of a base, a length and a seed to a prefix of standard normal values."""

    def make(base: Base, length: int = 3, seed: int = 0) -> Prefix:
        generator = torch.Generator().manual_seed(1000 + seed)
        return Prefix.from_sites(
            {
                site: torch.randn(one.layers, 2, one.kv_heads, length, one.head_dim, generator=generator)
                for site, one in find_prefix_shape(base.model).sites.items()
            }
        )

    return make


class Store:
    """Artifacts in folders named by content, as a registry's store would have them."""

    def __init__(self, folder: Path, base: Base) -> None:
        self.folder, self.base = folder, base
        self.fetched: Counter[str] = Counter()
        self.down = False
        self.open = threading.Event()
        self.open.set()

    def add(self, tenant: str, delta: Delta | Prefix, **changes: Any) -> ArtifactRef:
        """Save a tenant's delta; returns what requests name."""
        facts: dict[str, Any] = {
            "base_name": self.base.name,
            "base_digest": self.base.digest,
            "tokenizer_digest": self.base.tokenizer_digest,
            "dataset_version": "d" * 32,
            "data_digest": "e" * 64,
            "train": {"prefix_length": to_delta(delta).length},
            "fingerprint": "f" * 64,
        }
        made = self.folder / f"{tenant}-new"
        manifest = save_artifact(made, delta, tenant=tenant, **{**facts, **changes})
        made.rename(self.folder / manifest.sha256)
        return ArtifactRef(tenant, "1", manifest.sha256)

    def fetch(self, artifact: ArtifactRef, folder: Path) -> Path:
        """See `Source.fetch`."""
        self.open.wait(30)
        self.fetched[artifact.sha256] += 1
        if self.down:
            raise RegistryError("an artifact", "no answer from the store", "see that it runs")
        if not (self.folder / artifact.sha256).is_dir():
            raise ArtifactError("an artifact", "none of this content", "register the tenant again")
        copy_artifact(self.folder / artifact.sha256, folder, artifact.sha256)
        return folder


@pytest.fixture
def store_of(tmp_path: Path) -> Callable[[Base], Store]:
    """A function of a base to an empty store of artifacts for it."""

    def make(base: Base) -> Store:
        folder = tmp_path / "store"
        folder.mkdir()
        return Store(folder, base)

    return make


@dataclass(frozen=True)
class Tenants:
    """Tenants whose artifacts are in a store."""

    base: Base
    store: Any
    artifacts: tuple[ArtifactRef, ...]
    deltas: dict[str, Delta]

    def alone(self, request: GenerationRequest) -> tuple[str, str]:
        """The row's text and finish without company.

        `sample_index` + 1 rows of the same are made, and the last is it.
        """
        decoding = Decoding(
            max_new_tokens=request.max_tokens,
            temperature=request.temperature,
            top_p=request.top_p,
            guidance=request.guidance,
            seed=request.seed,
        )
        delta, rows = self.deltas[request.artifact.tenant], request.sample_index + 1
        (work,) = make_requests(self.base, delta, [request.source], decoding)
        ids = generate_each(
            self.base, [delta] * rows, [work.source] * rows, decoding, rows, bare_sources=[work.bare_source] * rows
        )
        text = self.base.text_codec.decode(ids[-1])
        places = [place for place in (text.find(stop) for stop in request.stop) if place >= 0]
        if places:
            return text[: min(places)].rstrip(), "stop"
        return text, "length" if len(ids[-1]) == work.limit else "stop"


@asynccontextmanager
async def _running(tenants: Tenants, folder: Path, **changes: Any) -> AsyncIterator[BatchEngine]:
    memory = changes.pop("memory", ArtifactMemoryLimits())
    engine = BatchEngine(
        tenants.base, ArtifactCache(tenants.base, tenants.store, folder, memory), EngineLimits(**changes)
    )
    try:
        yield engine
    finally:
        await asyncio.wait_for(engine.drain(), 60)


@pytest.fixture
def running(tmp_path: Path) -> Callable[..., Any]:
    """`async with running(tenants, rows=8) as engine`: drained at the end."""
    return lambda tenants, **changes: _running(tenants, tmp_path / "cache", **changes)


@pytest.fixture
def tenants_of(store_of: Callable[[Base], Any], random_prefix: Callable[..., Prefix]) -> Callable[..., Tenants]:
    """A function of a base (and deltas with their train sections) to tenants; by default five of prefixes."""

    def make(base: Base, deltas: Sequence[Delta | Prefix] = (), configs: Sequence[TrainConfig] = ()) -> Tenants:
        store = store_of(base)
        known = list(deltas) or [random_prefix(base, length, length) for length in (1, 2, 3, 5, 4)]
        names = [f"tenant-{number}" for number in range(len(known))]
        facts = [{"method": one.method, "train": one.model_dump(mode="json")} for one in configs] or [{}] * len(known)
        artifacts = tuple(store.add(*each, **told) for *each, told in zip(names, known, facts, strict=True))
        return Tenants(base, store, artifacts, dict(zip(names, map(to_delta, known), strict=True)))

    return make


@pytest.fixture(scope="module")
def base(build_base: Callable[..., Base]) -> Base:
    return build_base("gpt2")


@pytest.fixture
def tenants(base: Base, tenants_of: Callable[..., Tenants]) -> Tenants:
    """Five tenants of a tiny GPT-2."""
    return tenants_of(base)


def _joined(pieces: Sequence[AnswerPiece]) -> tuple[str, str | None]:
    assert [piece.finish for piece in pieces[:-1]] == [None] * (len(pieces) - 1)
    return "".join(piece.text for piece in pieces), pieces[-1].finish


async def _gathered(engine: BatchEngine, request: GenerationRequest) -> list[AnswerPiece]:
    return [piece async for piece in await engine.submit(request)]


@pytest.fixture(scope="session")
def pieces_of() -> Callable[[BatchEngine, GenerationRequest], Awaitable[list[AnswerPiece]]]:
    """A function of an engine and a request to all pieces of its answer."""
    return _gathered


@pytest.fixture(scope="session")
def joined() -> Callable[[Sequence[AnswerPiece]], tuple[str, str | None]]:
    """A function of an answer's pieces to its text and finish."""
    return _joined


@pytest.fixture(scope="session")
def sources() -> tuple[str, ...]:
    return SOURCES
