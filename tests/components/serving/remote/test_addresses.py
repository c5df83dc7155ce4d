"""Addresses of engines: those that are none are refused, and names stand for all that DNS has."""

import socket
from typing import Any

import pytest

from components.errors import ConfigError
from components.serving.remote.addresses import EngineAddresses


@pytest.mark.parametrize(
    "url",
    [
        "",
        "10.0.0.5:8001",
        "ftp://host:1",
        "http://",
        "http://user:secret@host:1",
        "http://host:1/v1",
        "http://[",
        "dns+host:1",
        "dns+https://host:1",
        "dns+dns+http://host",
    ],
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"serve\.engines"):
        EngineAddresses([url])


def test_an_engine_that_is_there_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="each engine once"):
        EngineAddresses(["http://a:1", "http://a:1/"])


def test_listed_addresses_are_found_as_they_are() -> None:
    addresses = EngineAddresses(["https://engine.local:8001/", "http://10.0.0.5"])
    assert addresses.find() == ["https://engine.local:8001", "http://10.0.0.5"]
    assert not addresses.may_change


def test_a_name_stands_for_all_its_addresses_of_both_kinds() -> None:
    def resolve(name: str, port: int, **_: Any) -> list[Any]:
        assert name == "engines.example"
        hosts = ("10.0.0.7", "10.0.0.6", "fd00::6", "10.0.0.7")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in hosts]

    addresses = EngineAddresses(["http://10.0.0.6:80", "dns+http://engines.example"], resolve)
    assert addresses.may_change
    assert addresses.find() == ["http://10.0.0.6:80", "http://10.0.0.7:80", "http://[fd00::6]:80"]


def test_the_machines_own_resolver_is_asked() -> None:
    assert "http://127.0.0.1:8001" in EngineAddresses(["dns+http://localhost:8001"]).find()
    with pytest.raises(OSError, match=r"\S"):
        EngineAddresses(["dns+http://name.invalid:1"]).find()
