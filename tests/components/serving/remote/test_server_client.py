"""One server: its address, its health, its orders, and artifacts that it could not be told to drop."""

import asyncio
from typing import Any

import pytest
from fake_vllm import FakeVllm, run_fake_vllm
from processes import find_free_port
from waiting import wait_until

from components.errors import ArtifactError
from components.serving.remote.request_body import StoredArtifact
from components.serving.remote.server_client import ServerClient
from components.serving.remote.server_errors import ServerDownError

DIGEST = "0" * 64
"""Of the tiny bases."""


def test_health_says_why_it_does_not_answer(tenants: Any) -> None:
    with run_fake_vllm(tenants.base) as fake:
        client = ServerClient(fake.url, fake.base.digest)
        assert not client.is_up
        client.check_health()
        assert client.is_up
        fake.is_well = False
        client.check_health()
        assert client.down_reason == f"status 503 of {fake.url}/health"
    client.check_health()
    assert client.down_reason == f"ConnectError at {fake.url}"


def test_a_server_with_another_base_counts_as_down(tenants: Any) -> None:
    with run_fake_vllm(tenants.base) as fake:
        fake.base_digests = ["f" * 64]
        client = ServerClient(fake.url, DIGEST)
        client.check_health()
        assert "takes artifacts of the bases ffffffffffff, and this server has 000000000000" in client.down_reason
        fake.base_digests.append(DIGEST)
        client.check_health()
        assert client.is_up


def test_what_a_server_says_of_lora_is_known_when_it_is_up_and_again_after_a_restart(tenants: Any) -> None:
    port = find_free_port()
    client = ServerClient(f"http://127.0.0.1:{port}", DIGEST)
    for rank in (16, 0):
        with run_fake_vllm(tenants.base, port) as fake:
            fake.max_lora_rank = rank
            client.check_health()
            assert (client.is_up, client.max_lora_rank) == (True, rank)
        client.check_health()
        assert not client.is_up


def test_the_warning_of_an_untested_release_is_logged_when_it_comes_up(
    tenants: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with run_fake_vllm(tenants.base) as fake:
        fake.warning = "tested with vLLM 0.32"
        client = ServerClient(fake.url, fake.base.digest)
        for _ in range(2):
            client.check_health()
    assert [one for one in caplog.messages if "tested" in one] == [f"engine {fake.url}: tested with vLLM 0.32"]


def test_orders_load_artifacts_and_say_why_one_cannot_be_loaded(tenants: Any) -> None:
    artifact = tenants.artifacts[0]
    address = (tenants.store.folder / artifact.sha256).as_uri()
    with run_fake_vllm(tenants.base) as fake:
        client = ServerClient(fake.url, fake.base.digest)
        client.load(StoredArtifact(artifact, 1, address))
        with pytest.raises(ArtifactError):
            client.load(StoredArtifact(artifact, 1, f"{address}-gone"))
        assert client.read_status()["artifacts"] == {}
        asyncio.run(client.close())


def test_a_drop_that_it_did_not_get_is_sent_again_when_it_answers(tenants: Any) -> None:
    port = find_free_port()
    client = ServerClient(f"http://127.0.0.1:{port}", DIGEST)
    client.drop(["a" * 64])
    client.drop(["b" * 64])
    with pytest.raises(ServerDownError):
        client.read_status()
    with run_fake_vllm(tenants.base, port) as fake:
        client.check_health()
        assert fake.orders == [{"drop": ["a" * 64, "b" * 64]}]
        client.check_health()
        assert len(fake.orders) == 1


def test_an_engine_that_is_silent_for_several_checks_loses_the_answers_that_it_has_begun(tenants: Any) -> None:
    body = make_body(tenants)

    async def ask(client: ServerClient, fake: FakeVllm) -> None:
        fake.may_answer.clear()
        fake.is_silent = True
        reply = asyncio.ensure_future(anext(client.stream_reply(body)))
        await asyncio.to_thread(wait_until, lambda: fake.bodies, "the request")
        for _ in range(2):
            await asyncio.to_thread(client.check_health)
        assert not reply.done()
        await asyncio.to_thread(client.check_health)
        with pytest.raises(ServerDownError, match="no answer to health checks"):
            await reply
        assert client.in_flight == 0
        await client.close()

    with run_fake_vllm(tenants.base) as fake:
        asyncio.run(ask(ServerClient(fake.url, fake.base.digest, health_seconds=0.2), fake))


def make_body(tenants: Any) -> dict[str, Any]:
    """Return a request for several tokens of the first tenant's artifact."""
    artifact = tenants.artifacts[0]
    stored = StoredArtifact(artifact, 1, (tenants.store.folder / artifact.sha256).as_uri())
    values: dict[str, Any] = {"max_tokens": 5, "min_tokens": 5, "cache_salt": artifact.sha256}
    return {**values, "prompt": [0, 5, 6], "kv_transfer_params": {"prefixfleet": stored.describe()}}
