"""Which engines are up and where they are, and what happens while none is."""

import asyncio
import socket
from typing import Any

import pytest
from fake_vllm import make_group, run_fake_vllm
from processes import find_free_port
from waiting import wait_until

from components.errors import WorkspaceError
from components.serving.interface import ArtifactRef
from components.serving.remote import server_group
from components.serving.remote.request_body import StoredArtifact
from components.serving.remote.server_errors import ServerDownError

DIGEST = "0" * 64
"""Of the tiny bases."""


def find_up(group: Any) -> list[str]:
    return [one.url for one in group.states if not one.down_reason]


def test_it_starts_with_a_dead_address_beside_a_living_one_and_notices_when_that_comes(tenants: Any) -> None:
    port = find_free_port()
    dead = f"http://127.0.0.1:{port}"
    with run_fake_vllm(tenants.base) as fake:
        group = make_group([dead, fake.url], fake.base.digest)
        group.start(60)
        assert find_up(group) == [fake.url]
        with run_fake_vllm(tenants.base, port):
            wait_until(lambda: dead in find_up(group), "the second engine")
        wait_until(lambda: find_up(group) == [fake.url], "its end")
        asyncio.run(group.close())


def test_it_does_not_start_while_none_answers() -> None:
    group = make_group([f"http://127.0.0.1:{find_free_port()}"], DIGEST)
    with pytest.raises(ServerDownError, match=r"none of 1 engines after 3 s: ConnectError.*correct serve\.engines"):
        group.start(3)

    group = make_group([f"http://127.0.0.1:{find_free_port()}"], DIGEST)

    def fail() -> None:
        raise WorkspaceError("vLLM", "its end", "look")

    with pytest.raises(WorkspaceError):
        group.start(60, must_go_on=fail)


def test_without_an_engine_that_is_up_an_answer_is_refused_for_the_moment() -> None:
    group = make_group([f"http://127.0.0.1:{find_free_port()}"], DIGEST)

    async def ask() -> None:
        async for _ in group.stream_reply({}, StoredArtifact(ArtifactRef("acme", "1", "a" * 64), 1, "")):
            pass

    with pytest.raises(ServerDownError, match="no engine that is up"):
        asyncio.run(ask())


def test_engines_come_and_go_with_their_addresses_in_dns(tenants: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_group, "_ADDRESS_SECONDS", 0.05)
    port, hosts = find_free_port(), ["127.0.0.1"]

    def resolve(name: str, of_port: int, **_: Any) -> list[Any]:
        assert (name, of_port) == ("engines.example", port)
        if not hosts:
            raise socket.gaierror("no such name")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in hosts]

    first, second = (f"http://127.0.0.{number}:{port}" for number in (1, 2))
    with (
        run_fake_vllm(tenants.base, port) as one,
        run_fake_vllm(tenants.base, port, host="127.0.0.2") as other,
    ):
        group = make_group([f"dns+http://engines.example:{port}"], one.base.digest, resolve=resolve)
        group.start(60)
        assert find_up(group) == [first]
        group.drop(["a" * 64])
        hosts.append("127.0.0.2")
        wait_until(lambda: find_up(group) == [first, second], "the second address")
        wait_until(lambda: other.orders == [{"drop": ["a" * 64]}], "what was dropped before it came")
        hosts.clear()
        hosts_without_dns = find_up(group)
        hosts.append("127.0.0.2")
        wait_until(lambda: find_up(group) == [second], "the end of the first address")
        assert hosts_without_dns == [first, second]
        asyncio.run(group.close())
