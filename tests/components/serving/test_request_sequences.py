import asyncio

import pytest
from fake_serving import FakeEngine, FakeRegistry

from components.errors import ArtifactError
from components.serving import request_sequences
from components.serving.interface import ArtifactRef, GenerationRequest
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
