import asyncio
import threading

import pytest
from fake_serving import FakeEngine, FakeRegistry

from components.errors import ArtifactError
from components.serving import request_sequences
from components.serving.engine.batch import DecoderBatch
from components.serving.interface import ArtifactRef, GenerationRequest, TokenControls
from components.serving.request_sequences import RequestSequences


@pytest.fixture
def engine():
    registry = FakeRegistry()
    for seed in (1, 2):
        registry.register("alder", seed)
    return FakeEngine(registry)


def make_requests(engine, *seeds):
    sha256s = {seed: sha256 for sha256, seed in engine.registry.seeds.items()}
    return [GenerationRequest(ArtifactRef("alder", str(seed), sha256s[seed]), "x", max_tokens=2) for seed in seeds]


def test_pieces_of_all_rows_are_collected_and_counted(engine):
    async def talk():
        async with RequestSequences(make_requests(engine, 1, 2)) as sequences:
            await sequences.submit(engine)
            pieces = [part async for part in sequences.stream_pieces()]
            return [(number, piece.text) for part in pieces for number, piece in part], sequences

    pieces, sequences = asyncio.run(talk())
    assert sorted(pieces) == [(0, "1.0 "), (0, "1.1"), (1, "2.0 "), (1, "2.1")]
    assert [(one.text, one.token_count, one.finish) for one in sequences.results] == [
        ("1.0 1.1", 2, "length"),
        ("2.0 2.1", 2, "length"),
    ]
    assert (sequences.count_prompt_tokens(1), sequences.count_prompt_tokens(2)) == (6, 3)
    assert sequences.completion_tokens == 4


@pytest.mark.parametrize(("most", "sizes"), [(64, [4]), (3, [2, 2]), (1, [1, 1, 1, 1])])
def test_pieces_that_have_arrived_together_are_yielded_together(engine, monkeypatch, most, sizes):
    monkeypatch.setattr(request_sequences, "_MOST_TOGETHER", most)

    async def talk():
        async with RequestSequences(make_requests(engine, 1, 2)) as sequences:
            await sequences.submit(engine)
            return [len(pieces) async for pieces in sequences.stream_pieces()]

    assert asyncio.run(talk()) == sizes


def test_while_pieces_wait_the_event_loop_serves_others(engine, monkeypatch):
    monkeypatch.setattr(request_sequences, "_MOST_TOGETHER", 1)

    async def talk():
        async with RequestSequences(make_requests(engine, 1, 2)) as sequences:
            await sequences.submit(engine)
            turns = []
            async for _ in sequences.stream_pieces():
                turns.append(0)
                asyncio.get_running_loop().call_soon(lambda: turns.append(1))
            return turns

    assert asyncio.run(talk())[:4] == [0, 1, 0, 1]


def test_if_one_row_is_refused_none_is_queued(engine):
    requests = make_requests(engine, 1, 2)
    engine.errors[requests[1].artifact.sha256] = ArtifactError("an artifact", "a damaged one", "restore it")

    async def talk():
        sequences = RequestSequences(requests)
        with pytest.raises(ArtifactError):
            await sequences.submit(engine)

    asyncio.run(talk())
    assert engine.requests == []


def test_leaving_early_cancels_the_rows(engine):
    async def talk():
        async with RequestSequences(make_requests(engine, 1, 2)) as sequences:
            await sequences.submit(engine)
            async for _ in sequences.stream_pieces():
                break

    asyncio.run(talk())
    assert len({id(stream) for stream in engine.cancelled}) == 2


@pytest.mark.parametrize("is_streamed", [False, True])
@pytest.mark.parametrize("stop", [(), ("no such text",)])
def test_a_cancelled_answer_counts_every_token_that_was_generated(
    tenants, running, sources, monkeypatch, is_streamed, stop
):
    """Also those that its reader has not got."""
    steps, has_stopped, may_go_on = 0, threading.Event(), threading.Event()
    step = DecoderBatch.step

    def stop_after_nine(self):
        nonlocal steps
        if steps == 9:
            has_stopped.set()
            may_go_on.wait(60)
        results = step(self)
        steps += len(results)
        return results

    monkeypatch.setattr(DecoderBatch, "step", stop_after_nine)
    controls = TokenControls(min_new_tokens=20)
    request = GenerationRequest(
        tenants.artifacts[0], sources[3], max_tokens=20, stop=stop, controls=controls, is_streamed=is_streamed
    )

    async def read_all(sequences):
        async for _ in sequences.stream_pieces():
            pass

    async def talk():
        async with running(tenants) as engine:
            sequences = RequestSequences([request])
            await sequences.submit(engine)
            reading = asyncio.create_task(read_all(sequences))
            while not has_stopped.is_set():
                await asyncio.sleep(0.001)
            sequences.cancel()
            counted = sequences.completion_tokens
            may_go_on.set()
            await reading
            return counted

    assert asyncio.run(talk()) == 9


def test_an_error_of_a_row_is_raised_to_the_reader(engine, monkeypatch):
    async def fail(_self):
        raise ArtifactError("a step", "an error", "retry")
        yield

    monkeypatch.setattr("fake_serving.FakeStream.__aiter__", fail)

    async def talk():
        async with RequestSequences(make_requests(engine, 1)) as sequences:
            await sequences.submit(engine)
            with pytest.raises(ArtifactError):
                async for _ in sequences.stream_pieces():
                    pass

    asyncio.run(talk())
