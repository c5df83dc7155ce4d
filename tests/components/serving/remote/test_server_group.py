"""Which engines are up, and what happens while none is."""

import asyncio
from typing import Any

import pytest
from fake_vllm import run_fake_vllm
from processes import find_free_port
from waiting import wait_until

from components.errors import WorkspaceError
from components.serving.remote.server_client import ServerClient
from components.serving.remote.server_errors import ServerDownError
from components.serving.remote.server_group import ServerGroup

DIGEST = "0" * 64
"""Of the tiny bases."""


def test_it_starts_with_a_dead_address_beside_a_living_one_and_notices_when_that_comes(tenants: Any) -> None:
    port = find_free_port()
    dead = ServerClient(f"http://127.0.0.1:{port}", DIGEST)
    with run_fake_vllm(tenants.base) as fake:
        group = ServerGroup([dead, ServerClient(fake.url, fake.base.digest)])
        group.start(60)
        assert group.is_up
        assert not dead.is_up
        with run_fake_vllm(tenants.base, port):
            wait_until(lambda: dead.is_up, "the second engine")
        wait_until(lambda: not dead.is_up, "its end")
        asyncio.run(group.close())


def test_it_does_not_start_while_none_answers(tenants: Any) -> None:
    group = ServerGroup([ServerClient(f"http://127.0.0.1:{find_free_port()}", DIGEST)])
    with pytest.raises(ServerDownError, match="none of 1 engines after 3 s: ConnectError"):
        group.start(3)

    group = ServerGroup([ServerClient(f"http://127.0.0.1:{find_free_port()}", DIGEST)])

    def fail() -> None:
        raise WorkspaceError("vLLM", "its end", "look")

    with pytest.raises(WorkspaceError):
        group.start(60, must_go_on=fail)


def test_without_an_engine_that_is_up_an_answer_is_refused_for_the_moment() -> None:
    group = ServerGroup([ServerClient(f"http://127.0.0.1:{find_free_port()}", DIGEST)])

    async def ask() -> None:
        async for _ in group.stream_reply({}, "a" * 64):
            pass

    with pytest.raises(ServerDownError, match="no engine that is up"):
        asyncio.run(ask())
