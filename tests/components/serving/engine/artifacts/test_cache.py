"""Artifacts come near the base once, verified, leave by bytes, and are an error where they cannot be had."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from components.errors import ArtifactError, BaseModelError, RegistryError
from components.model.base.load import Base
from components.registry.manifest import TENSORS_FILE
from components.serving.engine.artifacts.cache import ArtifactCache, ArtifactMemoryLimits
from components.serving.engine.artifacts.lru import LRUCache
from components.serving.interface import ArtifactRef, BusyError


@pytest.fixture
def base(build_base: Callable[..., Base]) -> Base:
    return build_base("gpt2")


@pytest.fixture
def store(make_store: Any, base: Base) -> Any:
    return make_store(base)


@pytest.fixture
def opened(store: Any, base: Base, tmp_path: Path) -> Callable[..., Any]:
    @contextmanager
    def make(**memory: int) -> Iterator[ArtifactCache]:
        residents = ArtifactCache(base, store, tmp_path / "cache", ArtifactMemoryLimits(**memory))
        yield residents
        residents.close()

    return make


def acquired(residents: ArtifactCache, *artifacts: ArtifactRef, release: bool = True) -> list[Any]:
    """What each acquisition gave, an exception where it raised; all at once."""

    async def run() -> list[Any]:
        return await asyncio.gather(*map(residents.acquire, artifacts), return_exceptions=True)

    found = asyncio.run(run())
    for artifact, one in zip(artifacts, found, strict=True):
        if release and not isinstance(one, BaseException):
            residents.release(artifact)
    return found


def test_many_who_wait_for_an_artifact_have_it_loaded_once(store: Any, opened: Any, make_prefix: Any) -> None:
    artifact = store.add("acme", make_prefix(store.base))
    with opened() as residents:
        store.may_answer.clear()

        async def run() -> list[Any]:
            waiting = [asyncio.ensure_future(residents.acquire(artifact)) for _ in range(8)]
            await asyncio.sleep(0)
            store.may_answer.set()
            return await asyncio.gather(*waiting)

        found = asyncio.run(run())
        assert len({id(one) for one in found}) == 1
        assert store.fetches == {artifact.sha256: 1}


def test_versions_of_one_content_are_fetched_once(store: Any, opened: Any, make_prefix: Any) -> None:
    artifact = store.add("acme", make_prefix(store.base))
    with opened() as residents:
        found = acquired(residents, *(replace(artifact, version=str(number)) for number in range(4)))
    assert {one.tenant for one in found} == {"acme"}
    assert store.fetches == {artifact.sha256: 1}


def test_who_gives_up_waiting_takes_nothing_from_the_others(store: Any, opened: Any, make_prefix: Any) -> None:
    artifact = store.add("acme", make_prefix(store.base))
    with opened() as residents:
        store.may_answer.clear()

        async def run() -> Any:
            first, second = (asyncio.ensure_future(residents.acquire(artifact)) for _ in range(2))
            await asyncio.sleep(0.01)
            first.cancel()
            await asyncio.sleep(0)
            store.may_answer.set()
            return await second

        assert asyncio.run(run()).tenant == "acme"
        assert residents.count_pins(artifact) == 1


def test_the_least_recently_used_leave_the_device_but_stay_on_disk(store: Any, opened: Any, make_prefix: Any) -> None:
    artifacts = [store.add(f"tenant-{number}", make_prefix(store.base, 2, number)) for number in range(4)]
    with opened() as residents:
        (size,) = (one.size_bytes for one in acquired(residents, artifacts[0]))
    with opened(device=3 * size) as residents:
        acquired(residents, *artifacts[:3])
        acquired(residents, artifacts[0])
        acquired(residents, artifacts[3])
        assert residents.counts == (3, 0, 3 * size)
        before = store.fetches.total()
        acquired(residents, artifacts[0], artifacts[2], artifacts[3])
        acquired(residents, artifacts[1])
        assert store.fetches.total() == before


def test_rows_in_flight_keep_theirs_and_new_ones_are_told_to_come_again(
    store: Any, opened: Any, make_prefix: Any
) -> None:
    held, other = (store.add(name, make_prefix(store.base, 2, len(name))) for name in ("held", "other"))
    with opened() as residents:
        size = acquired(residents, held)[0].size_bytes
    with opened(device=size) as residents:
        acquired(residents, held, release=False)
        (refused,) = acquired(residents, other)
        assert isinstance(refused, BusyError)
        assert refused.retry_after > 0
        residents.release(held)
        assert acquired(residents, other)[0].tenant == "other"


def test_an_artifact_larger_than_the_memory_is_refused(store: Any, opened: Any, make_prefix: Any) -> None:
    artifact = store.add("acme", make_prefix(store.base, 9))
    with opened(device=100) as residents:
        (refused,) = acquired(residents, artifact)
        assert isinstance(refused, ArtifactError)
        assert not isinstance(refused, BusyError)


def test_the_disk_is_kept_by_bytes_and_counted_again_after_a_restart(
    store: Any, opened: Any, make_prefix: Any, tmp_path: Path
) -> None:
    artifacts = [store.add(f"tenant-{number}", make_prefix(store.base, 2, number)) for number in range(3)]
    size = max(sum(path.stat().st_size for path in folder.iterdir()) for folder in store.folder.iterdir())
    with opened(disk=2 * size) as residents:
        for artifact in artifacts:
            acquired(residents, artifact)
        names = {path.name for path in (tmp_path / "cache").iterdir()}
        assert names == {artifact.sha256 for artifact in artifacts[1:]}
    with opened(disk=size) as residents:
        assert len(list((tmp_path / "cache").iterdir())) == 1


@pytest.mark.parametrize("damage", ["truncated", "changed"])
def test_damaged_files_on_disk_are_fetched_again_once(
    damage: str, store: Any, opened: Any, make_prefix: Any, tmp_path: Path
) -> None:
    artifact = store.add("acme", make_prefix(store.base))
    with opened() as residents:
        acquired(residents, artifact)
    path = tmp_path / "cache" / artifact.sha256 / TENSORS_FILE
    content = path.read_bytes()
    path.write_bytes(content[:-5] if damage == "truncated" else content[:-1] + bytes([content[-1] ^ 1]))
    with opened() as residents:
        assert acquired(residents, artifact)[0].sha256 == artifact.sha256
        assert store.fetches[artifact.sha256] == 2
        path = store.folder / artifact.sha256 / TENSORS_FILE
        path.write_bytes(content[:-5])
    (tmp_path / "cache" / artifact.sha256 / TENSORS_FILE).write_bytes(b"")
    with opened() as residents:
        (refused,) = acquired(residents, artifact)
        assert isinstance(refused, ArtifactError)
        assert store.fetches[artifact.sha256] == 4
        assert residents.counts == (0, 0, 0)


def test_nothing_of_another_tenant_base_or_content_is_ever_given(store: Any, opened: Any, make_prefix: Any) -> None:
    artifact = store.add("acme", make_prefix(store.base))
    strange = store.add("strange", make_prefix(store.base, 2), base_digest="9" * 64)
    with opened() as residents:
        acquired(residents, artifact)
        others = acquired(residents, replace(artifact, tenant="other"), strange, replace(artifact, sha256="0" * 64))
        assert [type(one) for one in others] == [ArtifactError, BaseModelError, ArtifactError]
        assert "acme" not in str(others[0])
        assert residents.counts[0] == 1


def test_where_the_store_is_down_what_is_resident_serves_and_trouble_is_told(
    store: Any, opened: Any, make_prefix: Any
) -> None:
    here, there = (store.add(name, make_prefix(store.base, 2, len(name))) for name in ("here", "there"))
    with opened() as residents:
        acquired(residents, here)
        store.fails = True
        found, refused = acquired(residents, here, there)
        assert found.tenant == "here"
        assert isinstance(refused, RegistryError)
        assert "no answer" in residents.store_error
        store.fails = False
        acquired(residents, there)
        assert residents.store_error == ""


def test_trouble_ends_by_itself_once_the_store_answers(store: Any, opened: Any, make_prefix: Any) -> None:
    artifact = store.add("acme", make_prefix(store.base))
    with opened() as residents:
        store.fails = True
        acquired(residents, artifact)
        asyncio.run(residents.retry_failed_fetch())
        assert "no answer" in residents.store_error
        store.fails = False
        asyncio.run(residents.retry_failed_fetch())
        assert (residents.store_error, residents.count_pins(artifact), residents.counts[0]) == ("", 0, 1)
        before = store.fetches.total()
        asyncio.run(residents.retry_failed_fetch())
        assert store.fetches.total() == before


def test_a_missing_artifact_is_no_trouble_of_the_store(store: Any, opened: Any, make_prefix: Any) -> None:
    artifact = store.add("acme", make_prefix(store.base))
    with opened() as residents:
        (refused,) = acquired(residents, replace(artifact, sha256="0" * 64))
        assert isinstance(refused, ArtifactError)
        assert residents.store_error == ""


def test_a_store_that_hangs_in_trouble_holds_up_one_thread(store: Any, opened: Any, make_prefix: Any) -> None:
    kept, *cold = (store.add(f"tenant-{number}", make_prefix(store.base, 2, number)) for number in range(9))
    with opened() as residents:
        (size,) = (one.size_bytes for one in acquired(residents, kept))
    with opened(device=size) as residents:
        store.fails = True
        acquired(residents, cold[0])
        store.may_answer.clear()

        async def run() -> tuple[list[Any], Any]:
            asking = asyncio.create_task(residents.retry_failed_fetch())
            await asyncio.sleep(0.05)
            refused = await asyncio.gather(*map(residents.acquire, cold[1:]), return_exceptions=True)
            from_disk = await asyncio.wait_for(residents.acquire(kept), 10)
            store.may_answer.set()
            await asking
            return refused, from_disk

        refused, from_disk = asyncio.run(run())
        assert {type(one) for one in refused} == {RegistryError}
        assert "another retry in progress" in str(refused[0])
        assert from_disk.tenant == "tenant-0"
        assert store.fetches.total() == 3


def test_what_is_dropped_leaves_every_floor_and_rows_keep_what_they_hold(
    store: Any, opened: Any, make_prefix: Any, tmp_path: Path
) -> None:
    gone, kept = (store.add(name, make_prefix(store.base, 2, len(name))) for name in ("gone", "kept"))
    with opened() as residents:
        acquired(residents, kept)
        (held,) = acquired(residents, gone, release=False)
        assert residents.owners == {gone.sha256: "gone", kept.sha256: "kept"}
        residents.evict([gone.sha256])
        assert residents.owners == {kept.sha256: "kept"}
        assert residents.counts == (1, 0, held.size_bytes)
        assert [path.name for path in (tmp_path / "cache").iterdir()] == [kept.sha256]
        assert held.delta.prefix is not None
        assert residents.count_pins(gone) == 1
        residents.release(gone)
        assert acquired(residents, gone)[0] is not held


def test_artifacts_on_disk_alone_are_evicted_too(store: Any, opened: Any, make_prefix: Any, tmp_path: Path) -> None:
    artifacts = [store.add(f"tenant-{number}", make_prefix(store.base, 1, number)) for number in range(4)]
    with opened(device=1 << 10) as residents:
        acquired(residents, *artifacts)
        assert residents.counts[0] < 4
        residents.evict(list(residents.owners))
        assert residents.owners == {}
        assert list((tmp_path / "cache").iterdir()) == []


def test_who_asks_for_anothers_content_spoils_nothing_for_its_owner(store: Any, opened: Any, make_prefix: Any) -> None:
    artifact = store.add("acme", make_prefix(store.base))
    with opened() as residents:
        thief, owner = acquired(residents, replace(artifact, tenant="thief"), artifact)
    assert isinstance(thief, ArtifactError)
    assert owner.tenant == "acme"


def test_a_shelf_counts_what_is_replaced_once() -> None:
    shelf: LRUCache[str] = LRUCache(10)
    assert shelf.put("a", "one", 6) == []
    assert shelf.put("a", "two", 8) == []
    assert (shelf.used_bytes, shelf.get("a"), len(shelf)) == (8, "two", 1)
    assert shelf.put("b", "three", 3) == ["a"]
    assert shelf.put("c", "four", 9, pinned=["b"]) is None
    assert (shelf.used_bytes, shelf.get("b")) == (3, "three")


def test_many_more_tenants_than_the_memory_holds_take_turns(
    store: Any, base: Base, make_prefix: Any, opened: Any
) -> None:
    artifacts = [store.add(f"tenant-{number}", make_prefix(base, 5)) for number in range(30)]
    with opened() as residents:
        size = acquired(residents, artifacts[0])[0].size_bytes
    with opened(device=10 * size) as residents:
        for start in range(0, 30, 10):
            assert all(one.size_bytes == size for one in acquired(residents, *artifacts[start : start + 10]))
        assert residents.counts == (10, 0, 10 * size)
