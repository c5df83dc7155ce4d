"""A running engine on a tiny base, its tenants' artifacts in a store, and the answers of single rows for comparison."""

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
from components.errors import ArtifactError, BaseModelError, RegistryError
from components.model.base.attention_sites import find_prefix_shape
from components.model.base.load import Base
from components.model.decoding import Decoding, generate_each, make_requests
from components.model.delta import Delta, to_delta
from components.model.prefix.initialization import make_random_prefix
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
def make_prefix() -> Callable[..., Prefix]:
    """A function of a base, a length and a seed to a prefix of standard normal values."""

    def make(base: Base, length: int = 3, seed: int = 0) -> Prefix:
        return make_random_prefix(find_prefix_shape(base.model), length, 1000 + seed, scale=1.0)

    return make


class Store:
    """An artifact store of folders named by sha256; raises while it `fails`, and hangs while `may_answer` is clear."""

    def __init__(self, folder: Path, base: Base) -> None:
        self.folder, self.base = folder, base
        self.requests: Counter[str] = Counter()
        """By sha256, including those that hang."""
        self.fetches: Counter[str] = Counter()
        """By sha256, without those that hang."""
        self.fails = False
        self.may_answer = threading.Event()
        self.may_answer.set()

    def add(self, tenant: str, delta: Delta | Prefix, **changes: Any) -> ArtifactRef:
        """Save a tenant's delta; `changes` are values of its manifest."""
        values: dict[str, Any] = {
            "base_name": self.base.name,
            "base_digest": self.base.digest,
            "tokenizer_digest": self.base.tokenizer_digest,
            "dataset_version": "d" * 32,
            "data_digest": "e" * 64,
            "train": {"prefix_length": to_delta(delta).length},
            "fingerprint": "f" * 64,
        }
        saved = self.folder / f"{tenant}-new"
        manifest = save_artifact(saved, delta, tenant=tenant, **{**values, **changes})
        saved.rename(self.folder / manifest.sha256)
        return ArtifactRef(tenant, "1", manifest.sha256)

    def fetch(self, artifact: ArtifactRef, folder: Path) -> Path:
        """See `ArtifactSource.fetch`."""
        self.requests[artifact.sha256] += 1
        self.may_answer.wait(60)
        self.fetches[artifact.sha256] += 1
        if self.fails:
            raise RegistryError("an artifact", "no answer from the store", "see that it runs")
        if not (self.folder / artifact.sha256).is_dir():
            raise ArtifactError("an artifact", "none with this sha256", "register the tenant again")
        copy_artifact(self.folder / artifact.sha256, folder, artifact.sha256)
        return folder


@pytest.fixture
def make_store(tmp_path: Path) -> Callable[[Base], Store]:
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

    def answer_alone(self, request: GenerationRequest) -> tuple[str, str]:
        """The text and finish reason of the row without other rows; of the sample number `sample_index`."""
        decoding = Decoding(
            max_new_tokens=request.max_tokens,
            temperature=request.temperature,
            top_p=request.top_p,
            top_k=request.top_k,
            guidance=request.guidance,
            seed=request.seed,
            num_beams=request.num_beams,
            length_penalty=request.length_penalty,
            min_new_tokens=request.controls.min_new_tokens,
            banned=request.controls.banned,
            repetition_penalty=request.controls.repetition_penalty,
            no_repeat_ngram=request.controls.no_repeat_ngram,
        )
        delta, samples = self.deltas[request.artifact.tenant], request.sample_index + 1
        (one,) = make_requests(self.base, delta, [request.source], decoding)
        bare_sources = [one.bare_source] * samples
        ids = generate_each(
            self.base, [delta] * samples, [one.source] * samples, decoding, samples, bare_sources=bare_sources
        )
        text = self.base.text_codec.decode(ids[-1])
        offsets = [offset for offset in (text.find(stop) for stop in request.stop) if offset >= 0]
        if offsets:
            return text[: min(offsets)].rstrip(), "stop"
        return text, "length" if len(ids[-1]) == one.limit else "stop"


@asynccontextmanager
async def _running(tenants: Tenants, folder: Path, **limits: Any) -> AsyncIterator[BatchEngine]:
    memory = limits.pop("memory", ArtifactMemoryLimits())
    artifact_cache = ArtifactCache(tenants.base, tenants.store, folder, memory)
    engine = BatchEngine(tenants.base, artifact_cache, EngineLimits(**limits))
    try:
        yield engine
    finally:
        await asyncio.wait_for(engine.drain(), 60)


@pytest.fixture
def running(tmp_path: Path) -> Callable[..., Any]:
    """`async with running(tenants, rows=8) as engine`; it is drained at the end."""
    return lambda tenants, **limits: _running(tenants, tmp_path / "cache", **limits)


@pytest.fixture
def make_tenants(make_store: Callable[[Base], Any], make_prefix: Callable[..., Prefix]) -> Callable[..., Tenants]:
    """A function of a base (and deltas with their train sections) to tenants; by default five with prefixes."""

    def make(base: Base, deltas: Sequence[Delta | Prefix] = (), configs: Sequence[TrainConfig] = ()) -> Tenants:
        store = make_store(base)
        all_deltas = list(deltas) or [make_prefix(base, length, length) for length in (1, 2, 3, 5, 4)]
        names = [f"tenant-{number}" for number in range(len(all_deltas))]
        changes = [{"method": one.method, "train": one.model_dump(mode="json")} for one in configs]
        changes = changes or [{}] * len(all_deltas)
        artifacts = tuple(store.add(*each, **own) for *each, own in zip(names, all_deltas, changes, strict=True))
        return Tenants(base, store, artifacts, dict(zip(names, map(to_delta, all_deltas), strict=True)))

    return make


@pytest.fixture(scope="module")
def base(build_base: Callable[..., Base]) -> Base:
    return build_base("gpt2")


@pytest.fixture
def tenants(base: Base, make_tenants: Callable[..., Tenants]) -> Tenants:
    """Five tenants of a tiny GPT-2."""
    return make_tenants(base)


def _join(pieces: Sequence[AnswerPiece]) -> tuple[str, str | None]:
    assert [piece.finish for piece in pieces[:-1]] == [None] * (len(pieces) - 1)
    return "".join(piece.text for piece in pieces), pieces[-1].finish


async def _collect(engine: BatchEngine, request: GenerationRequest) -> list[AnswerPiece]:
    return [piece async for piece in (await engine.submit([request]))[0]]


@pytest.fixture(scope="session")
def collect_pieces() -> Callable[[BatchEngine, GenerationRequest], Awaitable[list[AnswerPiece]]]:
    """A function of an engine and a request to all pieces of its answer."""
    return _collect


@pytest.fixture(scope="session")
def join_pieces() -> Callable[[Sequence[AnswerPiece]], tuple[str, str | None]]:
    """A function of an answer's pieces to its text and finish reason."""
    return _join


@pytest.fixture
def answer_all(running: Callable[..., Any]) -> Callable[..., list[Any]]:
    """A function of tenants, requests and limits to each request's text and finish reason, or its error."""

    def answer_all(tenants: Tenants, requests: Sequence[GenerationRequest], **limits: Any) -> list[Any]:
        async def serve() -> list[Any]:
            async with running(tenants, **limits) as engine:
                return await asyncio.gather(*(_collect(engine, one) for one in requests), return_exceptions=True)

        return [one if isinstance(one, BaseException) else _join(one) for one in asyncio.run(serve())]

    return answer_all


@pytest.fixture(scope="session")
def sources() -> tuple[str, ...]:
    return SOURCES


@pytest.fixture
def answer_with_hook(tenants: Any, answer_all: Any) -> Callable[..., Any]:
    """A function that answers requests in one batch, while a module calls `hook` before each of its forwards."""

    def answer(module: torch.nn.Module, hook: Callable[..., None], requests: Sequence[Any], rows: int) -> Any:
        handle = module.register_forward_pre_hook(hook, with_kwargs=True)
        try:
            return answer_all(tenants, requests, rows=rows)
        finally:
            handle.remove()

    return answer


@pytest.fixture
def check_third_fails_alone(tenants: Any, answer_with_hook: Any) -> Callable[..., None]:
    """A function that checks that of five requests the third gets the hook's error, and the others their answers."""

    def check(module: torch.nn.Module, hook: Callable[..., None], requests: Sequence[Any]) -> None:
        expected = [tenants.answer_alone(request) for request in requests]
        answers = answer_with_hook(module, hook, requests, 8)
        assert isinstance(answers[2], BaseModelError)
        assert "cannot take" in str(answers[2])
        for number in (0, 1, 3, 4):
            assert answers[number] == expected[number]

    return check


@pytest.fixture
def check_computed_in_parts(tenants: Any, answer_with_hook: Any, sources: Any) -> Callable[..., None]:
    """A function that checks that answers stay the same if the model has no memory for forwards that are too large."""

    def check(is_too_large: Callable[[Any], bool], settings: Any) -> None:
        requests = [
            GenerationRequest(artifact, source, max_tokens=9, **settings)
            for artifact, source in zip(tenants.artifacts, sources, strict=True)
        ]
        expected, refused = [tenants.answer_alone(request) for request in requests], 0

        def refuse_large(_model: Any, _args: Any, kwargs: Any) -> None:
            nonlocal refused
            if is_too_large(kwargs):
                refused += 1
                raise torch.OutOfMemoryError("CUDA out of memory")

        answers = answer_with_hook(tenants.base.model, refuse_large, requests, 10)
        assert refused
        assert answers == expected

    return check
