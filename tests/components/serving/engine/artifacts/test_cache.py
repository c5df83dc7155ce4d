"""An artifact is loaded once, evicted by bytes, and never given to another tenant."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

from components.errors import ArtifactError, BaseModelError
from components.registry.manifest import TENSORS_FILE
from components.serving.interface import BusyError


def test_an_artifact_that_many_wait_for_is_loaded_once(store: Any, add_tenants: Any, open_cache: Any) -> None:
    (artifact,) = add_tenants(1)
    with open_cache() as cache:
        store.may_answer.clear()

        async def acquire() -> list[Any]:
            waiting = [asyncio.ensure_future(cache.acquire(artifact)) for _ in range(8)]
            await asyncio.sleep(0)
            store.may_answer.set()
            return await asyncio.gather(*waiting)

        assert len({id(loaded) for loaded in asyncio.run(acquire())}) == 1
        assert store.fetches == {artifact.sha256: 1}


def test_versions_with_the_same_content_are_fetched_once(
    store: Any, add_tenants: Any, open_cache: Any, acquire_all: Any
) -> None:
    (artifact,) = add_tenants(1)
    with open_cache() as cache:
        loaded = acquire_all(cache, *(replace(artifact, version=str(number)) for number in range(4)))
    assert {one.tenant for one in loaded} == {artifact.tenant}
    assert store.fetches == {artifact.sha256: 1}


def test_a_cancelled_acquisition_does_not_disturb_the_others(store: Any, add_tenants: Any, open_cache: Any) -> None:
    (artifact,) = add_tenants(1)
    with open_cache() as cache:
        store.may_answer.clear()

        async def acquire() -> Any:
            first, second = (asyncio.ensure_future(cache.acquire(artifact)) for _ in range(2))
            while cache.count_pins(artifact) < 2:
                await asyncio.sleep(0)
            first.cancel()
            await asyncio.sleep(0)
            store.may_answer.set()
            return await second

        assert asyncio.run(acquire()).tenant == artifact.tenant
        assert cache.count_pins(artifact) == 1


def test_the_least_recently_used_leave_the_device_and_stay_on_disk(
    store: Any, add_tenants: Any, open_cache: Any, acquire_all: Any
) -> None:
    artifacts = add_tenants(4)
    with open_cache() as cache:
        (size,) = (one.size_bytes for one in acquire_all(cache, artifacts[0]))
    with open_cache(device=3 * size) as cache:
        acquire_all(cache, *artifacts[:3])
        acquire_all(cache, artifacts[0])
        acquire_all(cache, artifacts[3])
        assert cache.counts == (3, 0, 3 * size)
        before = store.fetches.total()
        acquire_all(cache, artifacts[0], artifacts[2], artifacts[3])
        acquire_all(cache, artifacts[1])
        assert store.fetches.total() == before


def test_pinned_artifacts_stay_and_new_ones_get_a_busy_error(
    add_tenants: Any, open_cache: Any, acquire_all: Any
) -> None:
    held, other = add_tenants(2)
    with open_cache() as cache:
        size = acquire_all(cache, held)[0].size_bytes
    with open_cache(device=size) as cache:
        acquire_all(cache, held, release=False)
        (refused,) = acquire_all(cache, other)
        assert isinstance(refused, BusyError)
        assert refused.retry_after > 0
        cache.release(held)
        assert acquire_all(cache, other)[0].tenant == other.tenant


def test_an_artifact_larger_than_the_limit_is_refused(add_tenants: Any, open_cache: Any, acquire_all: Any) -> None:
    (artifact,) = add_tenants(1, length=9)
    with open_cache(device=100) as cache:
        (refused,) = acquire_all(cache, artifact)
    assert isinstance(refused, ArtifactError)


def test_many_more_tenants_than_the_memory_holds_take_turns(
    add_tenants: Any, open_cache: Any, acquire_all: Any
) -> None:
    artifacts = add_tenants(30, length=5)
    with open_cache() as cache:
        size = acquire_all(cache, artifacts[0])[0].size_bytes
    with open_cache(device=10 * size) as cache:
        for start in range(0, 30, 10):
            assert all(one.size_bytes == size for one in acquire_all(cache, *artifacts[start : start + 10]))
        assert cache.counts == (10, 0, 10 * size)


def test_nothing_of_another_tenant_base_or_content_is_ever_returned(
    store: Any, make_prefix: Any, open_cache: Any, acquire_all: Any
) -> None:
    artifact = store.add("acme", make_prefix(store.base))
    other_base = store.add("other", make_prefix(store.base, 2), base_digest="9" * 64)
    with open_cache() as cache:
        acquire_all(cache, artifact)
        wrong = replace(artifact, tenant="other"), other_base, replace(artifact, sha256="0" * 64)
        errors = acquire_all(cache, *wrong)
        assert [type(one) for one in errors] == [ArtifactError, BaseModelError, ArtifactError]
        assert "acme" not in str(errors[0])
        assert cache.counts[0] == 1


def test_a_request_for_another_tenants_content_does_not_disturb_its_owner(
    add_tenants: Any, open_cache: Any, acquire_all: Any
) -> None:
    (artifact,) = add_tenants(1)
    with open_cache() as cache:
        refused, loaded = acquire_all(cache, replace(artifact, tenant="other"), artifact)
    assert isinstance(refused, ArtifactError)
    assert loaded.tenant == artifact.tenant


def test_an_evicted_artifact_leaves_memory_and_disk_and_rows_keep_what_they_hold(
    add_tenants: Any, open_cache: Any, acquire_all: Any, folder: Path
) -> None:
    gone, kept = add_tenants(2)
    with open_cache() as cache:
        acquire_all(cache, kept)
        (held,) = acquire_all(cache, gone, release=False)
        assert cache.owners == {gone.sha256: gone.tenant, kept.sha256: kept.tenant}
        cache.evict([gone.sha256])
        assert cache.owners == {kept.sha256: kept.tenant}
        assert cache.counts == (1, 0, held.size_bytes)
        assert [path.name for path in folder.iterdir()] == [kept.sha256]
        assert held.delta.prefix is not None
        assert cache.count_pins(gone) == 1
        cache.release(gone)
        assert acquire_all(cache, gone)[0] is not held


def test_artifacts_on_disk_alone_are_evicted_too(
    add_tenants: Any, open_cache: Any, acquire_all: Any, folder: Path
) -> None:
    artifacts = add_tenants(4, length=1)
    with open_cache(device=1 << 10) as cache:
        acquire_all(cache, *artifacts)
        assert cache.counts[0] < 4
        cache.evict(list(cache.owners))
        assert cache.owners == {}
        assert list(folder.iterdir()) == []


def test_a_preloaded_artifact_is_in_memory_and_not_pinned(add_tenants: Any, open_cache: Any) -> None:
    (artifact,) = add_tenants(1)
    with open_cache() as cache:
        asyncio.run(cache.preload(artifact))
        assert (cache.counts[0], cache.count_pins(artifact)) == (1, 0)


def test_an_artifact_that_cannot_be_loaded_is_named_until_it_can(
    store: Any, add_tenants: Any, open_cache: Any, acquire_all: Any
) -> None:
    artifact, other = add_tenants(2)
    path = store.folder / artifact.sha256 / TENSORS_FILE
    content = path.read_bytes()
    path.unlink()
    with open_cache() as cache:
        acquire_all(cache, artifact, other)
        assert list(cache.load_errors) == [artifact.sha256]
        assert TENSORS_FILE in cache.load_errors[artifact.sha256]
        path.write_bytes(content)
        acquire_all(cache, artifact)
        assert cache.load_errors == {}
