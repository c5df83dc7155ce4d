"""Cancelled rows leave, and queued tenants are served by turns."""

import asyncio
import threading
from collections import Counter
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from components.errors import DataError
from components.serving.engine.answer_stream import EngineAnswerStream
from components.serving.engine.batch import DecoderBatch
from components.serving.engine.detokenizer import IncrementalDetokenizer
from components.serving.engine.model_thread import ModelThread
from components.serving.engine.sampler import SampledToken
from components.serving.interface import GenerationRequest


def test_a_cancelled_row_leaves_and_the_others_go_on(
    tenants: Any, running: Any, collect_pieces: Any, join_pieces: Any, sources: Any
) -> None:
    first, *others = [GenerationRequest(artifact, sources[3], max_tokens=24) for artifact in tenants.artifacts]

    async def serve() -> list[Any]:
        async with running(tenants, rows=3) as engine:
            collecting = [asyncio.ensure_future(collect_pieces(engine, one)) for one in others]
            async for _ in (await engine.submit([first]))[0]:
                break
            queued = (await engine.submit([first]))[0]
            queued.cancel()
            queued.cancel()
            async with asyncio.timeout(60):
                assert not any([piece.finish async for piece in queued])
                answers = await asyncio.gather(*collecting)
                while (engine.health().running, engine.health().queued) != (0, 0):
                    await asyncio.sleep(0.001)
            assert all(engine.artifact_cache.count_pins(artifact) == 0 for artifact in tenants.artifacts)
            return answers

    for request, pieces in zip(others, asyncio.run(serve()), strict=True):
        assert join_pieces(pieces) == tenants.answer_alone(request)


def test_many_rows_of_one_tenant_do_not_delay_another_tenants(
    tenants: Any, running: Any, collect_pieces: Any, sources: Any, monkeypatch: Any
) -> None:
    """The model waits until all rows are queued, so that the order in which they enter depends on the queue alone."""
    flood, polite = (GenerationRequest(artifact, sources[0], max_tokens=12) for artifact in tenants.artifacts[:2])
    all_queued, entered = threading.Event(), list[str]()
    add, step = DecoderBatch.add, DecoderBatch.step

    def record(self: DecoderBatch, sequence: Any) -> None:
        entered.append(sequence.tenant)
        add(self, sequence)

    def wait(self: DecoderBatch) -> Any:
        all_queued.wait(60)
        return step(self)

    monkeypatch.setattr(DecoderBatch, "add", record)
    monkeypatch.setattr(DecoderBatch, "step", wait)

    async def serve() -> None:
        async with running(tenants, rows=2) as engine:
            streams = [(await engine.submit([request]))[0] for request in [flood] * 40 + [polite] * 5]
            all_queued.set()
            for stream in streams:
                async for _ in stream:
                    pass

    asyncio.run(serve())
    assert len(entered) == 45
    last = max(number for number, tenant in enumerate(entered) if tenant == polite.artifact.tenant)
    before = entered[:last].count(flood.artifact.tenant)
    assert before <= 2 + 5, "the two that entered first, and one for each polite row"


class IdleLoop:
    """An event loop in which nobody reads."""

    def call_soon_threadsafe(self, *_arguments: Any) -> None:
        pass


class SlowBatch:
    """Rows that take a second to add; a step takes ten. All rows end after the last step."""

    def __init__(self, steps: int) -> None:
        self.sequences: list[Any] = []
        self.now_s, self._steps = 0.0, steps
        self.rows_at_steps: list[Counter[str]] = []

    def activate(self) -> Any:
        return nullcontext()

    def has_capacity_for(self, sequence: Any) -> bool:
        return len(self.sequences) < 40

    def add(self, sequence: Any) -> None:
        self.now_s += 1
        self.sequences.append(sequence)

    def remove(self, sequence: Any, *, wipe: bool = False) -> None:
        self.sequences.remove(sequence)

    def step(self) -> list[Any]:
        self.now_s += 10
        self.rows_at_steps.append(Counter(one.tenant for one in self.sequences))
        ends = len(self.rows_at_steps) >= self._steps
        return [(one, DataError("an end", "a test", "none")) for one in self.sequences] if ends else []


@pytest.mark.parametrize(
    ("running", "rows"),
    [
        ("birch", [1, 1 + 6, 1 + 12, 1 + 18, 1 + 24]),
        ("alder", [1, 31, 31, 31, 31]),
    ],
)
def test_many_rows_are_added_over_several_steps_if_another_tenant_s_row_is_computed(
    running: str, rows: list[int]
) -> None:
    batch, has_begun, all_queued = SlowBatch(len(rows)), threading.Event(), threading.Event()
    thread = ModelThread(batch, lambda _sequence: None, timer=lambda: batch.now_s)

    def make(tenant: str) -> Any:
        stream = SimpleNamespace(prompt_tokens=1, cancelled=False, loop=IdleLoop(), take_ready=lambda event: [event])
        return SimpleNamespace(tenant=tenant, branch_count=1, stream=stream, trace=None)

    step = batch.step

    def step_once_all_are_queued() -> Any:
        has_begun.set()
        all_queued.wait(60)
        return step()

    batch.step = step_once_all_are_queued  # type: ignore[method-assign]
    thread.push([make(running)])
    thread.start()
    assert has_begun.wait(60)
    thread.push([make("alder") for _ in range(30)])
    all_queued.set()
    thread.shut_down()
    assert [sum(counts.values()) for counts in batch.rows_at_steps[: len(rows)]] == rows
    device_seconds = thread.device_time.take()
    assert sum(device_seconds.values()) == pytest.approx(batch.now_s)
    assert device_seconds.keys() == {running, "alder"}


class RecordingLoop:
    """An event loop in which nobody reads; it notes how many events each delivery has."""

    def __init__(self) -> None:
        self.deliveries: list[int] = []

    def call_soon_threadsafe(self, _callback: Any, events: Any) -> None:
        self.deliveries.append(len(events))


class TokenBatch(SlowBatch):
    """A step takes `step_s` seconds and gives every row a token; a row's last is its eighth."""

    def __init__(self, step_s: float) -> None:
        super().__init__(0)
        self.step_s = step_s

    def step(self) -> list[Any]:
        self.now_s += self.step_s
        return [(one, SampledToken(len(one.detokenizer.token_ids))) for one in self.sequences]


class Row(SimpleNamespace):
    """A row of eight tokens, of which each is a letter."""

    def __init__(self, loop: RecordingLoop) -> None:
        async def make_stream() -> EngineAnswerStream:
            return EngineAnswerStream(1, lambda: None)

        stream: Any = asyncio.run(make_stream())
        stream.loop = loop
        detokenizer = IncrementalDetokenizer(lambda ids: "".join("abcdefgh"[token] for token in ids))
        super().__init__(tenant="alder", branch_count=1, trace=None, stop_ids=(), grammar=None)
        self.stream, self.detokenizer = stream, detokenizer

    @property
    def is_last_token(self) -> bool:
        return len(self.detokenizer.token_ids) == 7


@pytest.mark.parametrize(
    ("step_s", "deliveries"),
    [(0.02, [1, 1, 1, 1, 1, 1, 1, 2]), (0.004, [1, 3, 3, 2]), (0.001, [1, 8])],
    ids=["long", "short", "very short"],
)
def test_pieces_of_short_steps_are_delivered_together_but_not_the_first_and_the_last(
    step_s: float, deliveries: list[int]
) -> None:
    batch, loop = TokenBatch(step_s), RecordingLoop()
    thread = ModelThread(batch, lambda _sequence: None, timer=lambda: batch.now_s)
    row: Any = Row(loop)
    thread.push([row])
    thread.start()
    thread.shut_down()
    assert loop.deliveries == deliveries
    assert row.stream.completion_tokens == 8


def test_pieces_are_delivered_before_a_step_that_reads_a_new_source() -> None:
    batch, loop, other = TokenBatch(0.001), RecordingLoop(), RecordingLoop()
    thread = ModelThread(batch, lambda _sequence: None, timer=lambda: batch.now_s)
    first: Any = Row(loop)
    second: Any = Row(other)
    step, delivered = batch.step, list[list[int]]()

    def push_at_the_fourth() -> Any:
        count = len(first.detokenizer.token_ids)
        if count == 3:
            thread.push([second])
        delivered.append(list(loop.deliveries))
        return step()

    batch.step = push_at_the_fourth  # type: ignore[method-assign]
    thread.push([first])
    thread.start()
    thread.shut_down()
    assert delivered[3:5] == [[1], [1, 3]]
    assert (sum(loop.deliveries), sum(other.deliveries)) == (9, 9)
