"""Answers through vLLM's protocol are those of the local engine; what cannot be answered is an error."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from fake_vllm import run_fake_vllm
from waiting import wait_until

from components.errors import ArtifactError, ConfigError, DataError, RegistryError
from components.serving.errors import RefusalError
from components.serving.interface import ArtifactRef, BusyError, GenerationRequest, TokenControls
from components.serving.remote.routing import rank_engines
from components.serving.remote.server_errors import ServerDownError


def _run(work: Any) -> Any:
    return asyncio.run(work())


def _find_down(engine: Any) -> list[str]:
    return [one.url for one in engine.health().servers if one.down_reason]


async def _wait_idle(engine: Any) -> None:
    await asyncio.to_thread(wait_until, lambda: engine.health().running == 0, "the rows' end")


def _ask_all(tenants: Any, sources: Any, **values: Any) -> list[GenerationRequest]:
    return [
        GenerationRequest(one, source, **{"max_tokens": 12, **values})
        for one in tenants.artifacts
        for source in sources
    ]


def test_texts_stops_and_lengths_are_those_of_the_local_engine(
    tenants: Any, running: Any, running_remote: Any, collect_pieces: Any, join_pieces: Any, sources: Any
) -> None:
    requests = _ask_all(tenants, sources)
    requests += [replace(one, stop=("e", "zz"), controls=TokenControls(min_new_tokens=3)) for one in requests]

    async def answer(engine: Any) -> list[Any]:
        return [join_pieces(one) for one in await asyncio.gather(*(collect_pieces(engine, one) for one in requests))]

    def check_device_time(engine: Any) -> None:
        seconds = engine.take_device_seconds()
        assert seconds.keys() == {one.tenant for one in tenants.artifacts}
        assert min(seconds.values()) > 0
        assert engine.take_device_seconds() == {}

    async def serve() -> None:
        async with running(tenants) as local:
            expected = await answer(local)
            await _wait_idle(local)
            check_device_time(local)
        assert {reason for _, reason in expected} == {"stop", "length"}
        with run_fake_vllm(tenants.base) as fake:
            async with running_remote(tenants, [fake]) as remote:
                assert await answer(remote) == expected
                await _wait_idle(remote)
                check_device_time(remote)

    _run(serve)


def test_a_row_gets_log_probabilities_by_token_id(
    tenants: Any, running_remote: Any, collect_pieces: Any, sources: Any
) -> None:
    async def serve() -> None:
        with run_fake_vllm(tenants.base) as fake:
            async with running_remote(tenants, [fake]) as remote:
                request = GenerationRequest(tenants.artifacts[0], sources[0], max_tokens=4, logprobs=2)
                pieces = await collect_pieces(remote, request)
                tokens = [token for piece in pieces for token in piece.tokens]
                assert {token.logprob for token in tokens} == {-0.5}
                assert all([value for _, value in token.alternatives] == [-0.5, -1.5] for token in tokens)

    _run(serve)


def test_prompt_tokens_do_not_count_placeholders(tenants: Any, running_remote: Any, sources: Any) -> None:
    async def serve() -> None:
        with run_fake_vllm(tenants.base) as fake:
            async with running_remote(tenants, [fake]) as remote:
                (stream,) = await remote.submit([GenerationRequest(tenants.artifacts[3], sources[0])])
                assert stream.prompt_tokens == len(sources[0]) + 1
                async for _ in stream:
                    pass
                assert len(fake.bodies[0]["prompt"]) == 5 + stream.prompt_tokens

    _run(serve)


@pytest.mark.parametrize(
    ("changes", "problem", "words"),
    [
        ({"guidance": 2.0}, ConfigError, "guidance"),
        ({"num_beams": 2}, ConfigError, "num_beams"),
        ({"controls": TokenControls(banned=("a",), no_repeat_ngram=2)}, ConfigError, "no_repeat_ngram, banned"),
        ({"controls": TokenControls(repetition_penalty=1.1)}, ConfigError, "repetition_penalty"),
        ({"source": "  "}, DataError, "an empty text"),
        ({"source": "a" * 62}, DataError, "context"),
        ({"artifact": ArtifactRef("tenant-0", "9", "0" * 64)}, ArtifactError, "none with this sha256"),
    ],
)
def test_what_vllm_cannot_do_is_refused_before_it_is_asked(
    tenants: Any, running_remote: Any, sources: Any, changes: Any, problem: Any, words: str
) -> None:
    async def serve() -> None:
        with run_fake_vllm(tenants.base) as fake:
            async with running_remote(tenants, [fake]) as remote:
                with pytest.raises(problem, match=words):
                    await remote.submit([replace(GenerationRequest(tenants.artifacts[0], sources[0]), **changes)])
                assert not fake.bodies
                assert remote.health().running == 0

    _run(serve)


def test_rows_beyond_the_limits_get_busy(tenants: Any, running_remote: Any, collect_pieces: Any, sources: Any) -> None:
    mine, other = (GenerationRequest(artifact, sources[0], max_tokens=4) for artifact in tenants.artifacts[:2])

    async def serve() -> None:
        with run_fake_vllm(tenants.base) as fake:
            async with running_remote(tenants, [fake], limits=(4, 2)) as remote:
                fake.may_answer.clear()
                first = await remote.submit([mine, mine])
                with pytest.raises(BusyError, match="2 of tenant-0"):
                    await remote.submit([mine])
                second = await remote.submit([other, other])
                with pytest.raises(BusyError, match="at most 4 rows"):
                    await remote.submit([replace(mine, artifact=tenants.artifacts[2])])
                fake.may_answer.set()
                for stream in (*first, *second):
                    async for _ in stream:
                        pass
                assert (await collect_pieces(remote, mine))[-1].finish

    _run(serve)


def test_a_cancelled_row_ends_in_the_engine_too(tenants: Any, running_remote: Any, sources: Any) -> None:
    async def serve() -> None:
        with run_fake_vllm(tenants.base) as fake:
            async with running_remote(tenants, [fake]) as remote:
                fake.may_answer.clear()
                (stream,) = await remote.submit([GenerationRequest(tenants.artifacts[0], sources[0])])
                await asyncio.to_thread(wait_until, lambda: fake.bodies, "the request")
                stream.cancel()
                assert [piece async for piece in stream] == []
                await _wait_idle(remote)
                fake.may_answer.set()
                await asyncio.to_thread(wait_until, lambda: fake.cancelled, "the end in the engine")

    _run(serve)


@pytest.mark.parametrize(("code", "problem"), [(400, RefusalError), (500, RefusalError), (503, ServerDownError)])
def test_the_engines_error_is_the_rows_error(
    tenants: Any, running_remote: Any, collect_pieces: Any, sources: Any, code: int, problem: Any
) -> None:
    async def serve() -> None:
        with run_fake_vllm(tenants.base) as fake:
            async with running_remote(tenants, [fake]) as remote:
                fake.error = {"message": "too many tokens", "code": code}
                with pytest.raises(problem) as caught:
                    await collect_pieces(remote, GenerationRequest(tenants.artifacts[0], sources[0]))
                assert caught.value.status == {400: 400, 500: 502, 503: 503}[code]
                await _wait_idle(remote)

    _run(serve)


def test_an_engine_that_cannot_read_its_store_leaves_the_answer_to_another(
    tenants: Any, running_remote: Any, collect_pieces: Any, join_pieces: Any, sources: Any
) -> None:
    requests = [GenerationRequest(one, sources[0], max_tokens=6) for one in tenants.artifacts]
    expected = [tenants.answer_alone(one) for one in requests]

    async def serve() -> None:
        with run_fake_vllm(tenants.base) as one, run_fake_vllm(tenants.base) as other:
            by_url = {fake.url: fake for fake in (one, other)}
            asked_first = rank_engines(requests[0].artifact.sha256, dict.fromkeys(by_url, 0))
            blind, seeing = (by_url[url] for url in asked_first)
            blind.can_read_store = False
            async with running_remote(tenants, [blind, seeing]) as remote:
                await asyncio.to_thread(wait_until, lambda: not _find_down(remote), "both engines")
                await asyncio.gather(*(remote.artifact_cache.preload(ref) for ref in tenants.artifacts))
                got = await asyncio.gather(*(collect_pieces(remote, request) for request in requests))
                assert [join_pieces(pieces) for pieces in got] == expected
                assert blind.bodies
                seeing.can_read_store = False
                with pytest.raises(RegistryError, match="no route to the store"):
                    await collect_pieces(remote, requests[0])

    _run(serve)


@pytest.mark.parametrize("how", ["breaks_after", "dies_after"])
def test_when_an_engine_breaks_off_another_one_goes_on_with_the_same_answer(
    how: str, tenants: Any, running: Any, running_remote: Any, collect_pieces: Any, join_pieces: Any, sources: Any
) -> None:
    some = [GenerationRequest(one, sources[0], max_tokens=12) for one in tenants.artifacts]
    requests = [replace(one, controls=TokenControls(min_new_tokens=least)) for least in (0, 7) for one in some]
    begun_again = [replace(one, controls=replace(one.controls, json_schema="{}")) for one in requests]

    async def serve() -> None:
        async with running(tenants) as local:
            expected = [join_pieces(await collect_pieces(local, one)) for one in requests]
        with run_fake_vllm(tenants.base) as first, run_fake_vllm(tenants.base) as second:
            async with running_remote(tenants, [first, second]) as remote:
                for count, asked in ((0, requests), (3, requests), (3, begun_again)):
                    first.is_well = True
                    setattr(first, how, count)
                    await asyncio.to_thread(wait_until, lambda: not _find_down(remote), "both engines")
                    first.bodies.clear()
                    got = await asyncio.gather(*(collect_pieces(remote, one) for one in asked))
                    assert [join_pieces(one) for one in got] == expected
                    assert first.bodies
                first.is_well = True
                await asyncio.to_thread(wait_until, lambda: not _find_down(remote), "both engines")
                setattr(second, how, 2)
                with pytest.raises(ServerDownError):
                    await collect_pieces(remote, requests[-1])

    _run(serve)


def test_evicted_artifacts_leave_all_engines_also_one_that_was_down(
    tenants: Any, running_remote: Any, collect_pieces: Any, sources: Any, tmp_path: Any
) -> None:
    async def serve() -> None:
        with run_fake_vllm(tenants.base) as first, run_fake_vllm(tenants.base) as second:
            async with running_remote(tenants, [first, second], url=f"file://{tmp_path}/engines") as remote:
                artifact = tenants.artifacts[0]
                await collect_pieces(remote, GenerationRequest(artifact, sources[0], max_tokens=2))
                copied = tmp_path / "engines" / artifact.sha256
                assert sorted(path.name for path in copied.iterdir()) == ["manifest.json", "prefix.safetensors"]
                await asyncio.to_thread(remote.artifact_cache.evict, [artifact.sha256])
                assert first.orders == second.orders == [{"drop": [artifact.sha256]}]
                assert not list(copied.glob("*"))
                assert artifact.sha256 not in remote.artifact_cache.owners

    _run(serve)
