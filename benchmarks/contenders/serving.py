"""The contenders of the serving benchmark: PrefixFleet's engine, one batch per tenant, and `peft` with many adapters.

PrefixFleet's engine is called by clients that send a new request when they have received their answer. The others
answer one batch after the other, so only some batches are timed, and `compute_waits` computes the waiting times of
their clients: all requests arrive at once, are served in their order, and each answer is followed by a new request.

Shapes: P prefix slots, T tokens.
"""

import asyncio
import itertools
import random
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from harness.alternating_runs import WaitForTurn, reset_peak_memory
from harness.random_bases import silence_transformers
from harness.request_load import RequestLoad, StoredArtifactSource

from components.model.decoding import Decoding, generate_each, make_requests
from components.serving.engine import BatchEngine, EngineLimits
from components.serving.engine.artifacts.cache import ArtifactCache
from components.serving.interface import GenerationRequest
from contenders import peft_training

AskFunction = Callable[[GenerationRequest], AsyncIterator[tuple[str, int]]]
"""Request -> pieces of its answer, each with its number of tokens."""


@dataclass(frozen=True)
class LoadLevel:
    """A number of tenants, with `requests_per_tenant` requests of each in flight and `request_count` in total."""

    tenants: int
    requests_per_tenant: int
    request_count: int

    @property
    def in_flight(self) -> int:
        """Number of requests in flight, each of its own client."""
        return self.tenants * self.requests_per_tenant


@dataclass(frozen=True)
class LoadAnswers:
    """The answers of one part; `texts` are by the number of the request."""

    texts: dict[int, str]
    tokens: int
    seconds: float
    waits: list[float]
    """Seconds that each client waited for its complete answer."""
    firsts: list[float]
    """Seconds until the first piece of each answer."""


def run_prefixfleet(
    wait_for_turn: WaitForTurn,
    load: RequestLoad,
    parts: Sequence[LoadLevel],
    rounds: int,
    single_tenant: bool,
    at_once: bool = False,
) -> dict[str, Any]:
    """Measure the engine with all artifacts loaded.

    With `single_tenant` all requests are of the first tenant. With `at_once` all are there at the start, and none is
    streamed.
    """
    base = load.load_base()
    loaded_bytes = reset_peak_memory(base.model)
    most = max(part.request_count if at_once else part.in_flight for part in parts)
    limits = EngineLimits(rows=load.rows, queue=2 * most, tenant_queue=2 * most)
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        engine = BatchEngine(base, ArtifactCache(base, StoredArtifactSource(load.store), Path(scratch)), limits)
        asyncio.run(answer_all(make_engine_ask(engine), [load.make_request(number, 1) for number in range(8)], most))
        wait_for_turn()
        for _ in range(rounds):
            for part in parts:
                tenants = 1 if single_tenant else part.tenants
                numbers, in_flight = range(part.request_count), part.request_count if at_once else part.in_flight
                requests = [load.make_request(number, tenants, is_streamed=not at_once) for number in numbers]
                asyncio.run(_load_artifacts(engine, requests))
                results.append(asyncio.run(answer_all(make_engine_ask(engine), requests, in_flight)))
                wait_for_turn()
        asyncio.run(engine.drain())
    return {"results": results, "loaded_bytes": loaded_bytes}


async def _load_artifacts(engine: BatchEngine, requests: Sequence[GenerationRequest]) -> None:
    for artifact in {request.artifact for request in requests}:
        await engine.artifact_cache.acquire(artifact)
        engine.artifact_cache.release(artifact)


def make_engine_ask(engine: BatchEngine) -> AskFunction:
    """Return a function that sends a request to an engine."""

    async def ask(request: GenerationRequest) -> AsyncIterator[tuple[str, int]]:
        async for piece in (await engine.submit([request]))[0]:
            yield piece.text, len(piece.tokens)

    return ask


async def answer_all(ask: AskFunction, requests: Sequence[GenerationRequest], in_flight: int) -> LoadAnswers:
    """Send all requests, `in_flight` of them at a time."""
    texts: dict[int, str] = {}
    waits, firsts, tokens = [], [], 0
    remaining = iter(enumerate(requests))

    async def client() -> None:
        nonlocal tokens
        for number, request in remaining:
            started, first, texts[number] = time.perf_counter(), 0.0, ""
            async for text, count in ask(request):
                first = first or time.perf_counter() - started
                texts[number] += text
                tokens += count
            waits.append(time.perf_counter() - started)
            firsts.append(first)

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(in_flight)))
    return LoadAnswers(texts, tokens, time.perf_counter() - started, waits, firsts)


def run_batch_per_tenant(
    wait_for_turn: WaitForTurn, load: RequestLoad, parts: Sequence[LoadLevel], rounds: int, sample: int
) -> dict[str, Any]:
    """Answer the requests in flight of one tenant with one call of `generate_each`, one tenant after the other."""
    base = load.load_base()
    loaded_bytes = reset_peak_memory(base.model)

    def batch(numbers: Sequence[int], tenants: int) -> tuple[list[str], int]:
        requests = [load.make_request(number, tenants) for number in numbers]
        delta = load.load_delta(base, requests[0].artifact)
        limits = [request.max_tokens for request in requests]
        decoding = Decoding(max_new_tokens=max(limits))
        sequences = make_requests(base, delta, [request.source for request in requests], decoding)
        sources = [one.source for one in sequences]
        ids = generate_each(base, [delta] * len(sources), sources, decoding, len(sources), limits=limits)
        return [base.text_codec.decode(one) for one in ids], sum(map(len, ids))

    return _time_calls(wait_for_turn, parts, rounds, sample, None, batch) | {"loaded_bytes": loaded_bytes}


def run_peft_switched(
    wait_for_turn: WaitForTurn, load: RequestLoad, parts: Sequence[LoadLevel], rounds: int, sample: int
) -> dict[str, Any]:
    """Answer one request at a time with `peft`'s generate and the tenant's adapter; adapters are loaded beforehand."""
    silence_transformers()
    base = load.load_base()
    model = transformers.AutoModelForCausalLM.from_pretrained(load.folder, dtype=getattr(torch, load.dtype))
    model = model.eval().to(base.device)
    loaded_bytes = reset_peak_memory(model)
    adapted: Any = None
    for part in parts:
        for (number,) in _choose_calls(part, sample, 1):
            request = load.make_request(number, part.tenants)
            prefix = load.load_delta(base, request.artifact).prefix
            assert prefix is not None
            stacked_L2HPD = prefix.stack_decoder_site()
            if adapted is None:
                adapted = peft_training.add_prefix(model, stacked_L2HPD.shape[3])
            if request.artifact.tenant not in adapted.peft_config:
                adapted.add_adapter(request.artifact.tenant, adapted.peft_config["default"])
            with torch.no_grad():
                weight_PO = adapted.prompt_encoder[request.artifact.tenant].embedding.weight
                weight_PO.copy_(stacked_L2HPD.permute(3, 0, 1, 2, 4).flatten(1))
    adapted.to(base.device).eval()

    def answer(numbers: Sequence[int], tenants: int) -> tuple[list[str], int]:
        (number,) = numbers
        request = load.make_request(number, tenants)
        source = base.text_codec.encode_sources([request.source])[0]
        ids_1T = torch.tensor([source], device=base.device)
        adapted.set_adapter(request.artifact.tenant)
        generated = adapted.generate(
            input_ids=ids_1T,
            attention_mask=torch.ones_like(ids_1T),
            do_sample=False,
            max_new_tokens=request.max_tokens,
            eos_token_id=base.eos_id,
            pad_token_id=base.pad_id,
        )[0, len(source) :].tolist()
        ids = generated[: generated.index(base.eos_id)] if base.eos_id in generated else generated
        return [base.text_codec.decode(ids)], len(ids)

    return _time_calls(wait_for_turn, parts, rounds, sample, 1, answer) | {"loaded_bytes": loaded_bytes}


def _time_calls(
    wait_for_turn: WaitForTurn, parts: Sequence[LoadLevel], rounds: int, sample: int, together: int | None, answer: Any
) -> dict[str, Any]:
    """Time some calls of each part, each of `together` requests (None: the requests in flight of a tenant)."""
    answer(_choose_calls(parts[0], 1, 1)[0], parts[0].tenants)
    results = []
    wait_for_turn()
    for _ in range(rounds):
        for part in parts:
            rows = together or part.requests_per_tenant
            texts: dict[int, str] = {}
            seconds, tokens = [], 0
            for numbers in _choose_calls(part, sample, rows):
                started = time.perf_counter()
                answers, count = answer(numbers, part.tenants)
                seconds.append(time.perf_counter() - started)
                texts |= dict(zip(numbers, answers, strict=True))
                tokens += count
            waits = compute_waits(seconds, part.in_flight // rows, part.request_count // rows)
            results.append(LoadAnswers(texts, tokens, sum(seconds), waits, waits))
            wait_for_turn()
    return {"results": results}


def _choose_calls(part: LoadLevel, sample: int, rows: int) -> list[list[int]]:
    """Return the request numbers of each call: `rows` of a tenant together; about `sample` requests, drawn randomly."""
    calls = part.request_count // rows
    chosen = sorted(random.Random(0).sample(range(calls), min(calls, max(1, sample // rows))))
    return [
        [call // part.tenants * part.tenants * rows + row * part.tenants + call % part.tenants for row in range(rows)]
        for call in chosen
    ]


def compute_waits(seconds: Sequence[float], in_flight: int, count: int) -> list[float]:
    """Return how long each of `count` calls waits if they run one after the other and take `seconds`, repeated."""
    ends = list(itertools.accumulate(itertools.islice(itertools.cycle(seconds), count)))
    return [end - (ends[number - in_flight] if number >= in_flight else 0.0) for number, end in enumerate(ends)]
