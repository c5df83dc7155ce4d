"""What cannot be answered with its artifact gets an error and no token, and its neighbours in the batch are right."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from engines import Artifact, Asked, Served, make_ids
from tiny_models import Model

IDS = make_ids(40, 5)


@pytest.fixture(scope="module")
def served(make_tiny: Callable[[str], Model], start: Callable[..., Served]) -> Served:
    return start(make_tiny("gpt2"), {"serve_base": False, "resident_mb": 0.25})


def change_manifest(served: Served, artifact: Artifact, **changes: Any) -> None:
    path = served.store / artifact.sha256 / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def make_missing(served: Served) -> Asked:
    artifact = served.write(5, 1)
    (served.store / artifact.sha256 / "prefix.safetensors").unlink()
    return served.ask(artifact, IDS, fails=True)


def make_damaged(served: Served) -> Asked:
    artifact = served.write(5, 2)
    path = served.store / artifact.sha256 / "prefix.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    return served.ask(artifact, IDS, fails=True)


def make_changed(served: Served) -> Asked:
    artifact = served.write(5, 3)
    change_manifest(served, artifact, tenant="another")
    return served.ask(artifact, IDS, fails=True, fields={"tenant": "another"})


def make_infinite(served: Served) -> Asked:
    layers = served.model.make_prefix(5, 4)
    layers[0][0][0, 0, 0] = torch.inf
    artifact = served.write(5, 4, layers=layers)
    return served.ask(artifact, IDS, fails=True)


REFUSED: dict[str, Callable[[Served], Asked]] = {
    "missing": make_missing,
    "damaged": make_damaged,
    "changed": make_changed,
    "not finite": make_infinite,
    "another tenant's": lambda served: served.ask(served.write(5, 5), IDS, fails=True, fields={"tenant": "another"}),
    "of another base": lambda served: served.ask(served.write(5, 6, base_digest="e" * 64), IDS, fails=True),
    "of another method": lambda served: served.ask(served.write(5, 7, method="infix"), IDS, fails=True),
    "of another shape": lambda served: served.ask(
        served.write(5, 8, layers=served.model.make_prefix(5, 8)[:1]), IDS, fails=True
    ),
    "of another length": lambda served: served.ask(served.write(5, 9), IDS, fails=True, fields={"length": 4}),
    "larger than the memory": lambda served: served.ask(served.write(200, 10), IDS, fails=True),
    "outside the store": lambda served: served.ask(served.write(5, 11), IDS, fails=True, fields={"address": "/etc/x"}),
    "an unknown field": lambda served: served.ask(served.write(5, 12), IDS, fails=True, fields={"more": 1}),
    "no salt": lambda served: served.ask(served.write(5, 13), IDS, fails=True, cache_salt=None),
    "another salt": lambda served: served.ask(served.write(5, 14), IDS, fails=True, cache_salt="f" * 64),
    "too short a prompt": lambda served: served.ask(served.write(33, 15), [], fails=True),
    "prompt logprobs": lambda served: served.ask(served.write(5, 16), IDS, fails=True, prompt_logprobs=1),
    "no prefix": lambda served: served.ask(None, IDS, fails=True),
    "no prefix, with a salt": lambda served: served.ask(None, IDS, fails=True, cache_salt="a" * 64),
}


@pytest.fixture(scope="module")
def neighbours(served: Served) -> list[Artifact]:
    return [served.write(length, 50 + length) for length in (5, 33)]


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_request_between_neighbours(name: str, served: Served, neighbours: list[Artifact]) -> None:
    refused = REFUSED[name](served)
    first, second = (served.ask(one, IDS) for one in neighbours)
    served.check(first, refused, second, refused)
    served.check(refused)


def test_cached_blocks_of_a_tenant_do_not_serve_a_request_without_its_salt(served: Served) -> None:
    artifact = served.write(33, 70)
    served.check(served.ask(artifact, IDS))
    served.check(served.ask(artifact, IDS, fails=True, cache_salt=None))
    served.check(served.ask(artifact, IDS))


def test_an_artifact_that_was_mended_is_read_again(served: Served) -> None:
    artifact = served.write(5, 71)
    path = served.store / artifact.sha256 / "prefix.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    served.check(served.ask(artifact, IDS, fails=True))
    path.write_bytes(content)
    served.check(served.ask(artifact, IDS))
