"""Files on disk are bounded and verified; an error of the store is reported until the store answers again."""

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from components.errors import ArtifactError, RegistryError, WorkspaceError
from components.registry.manifest import MANIFEST_FILE, TENSORS_FILE


def test_the_disk_is_bounded_in_bytes_also_after_a_restart(
    store: Any, add_tenants: Any, open_cache: Any, acquire_all: Any, folder: Path
) -> None:
    artifacts = add_tenants(3)
    size = max(sum(path.stat().st_size for path in one.iterdir()) for one in store.folder.iterdir())
    with open_cache(disk=2 * size) as cache:
        for artifact in artifacts:
            acquire_all(cache, artifact)
        assert {path.name for path in folder.iterdir()} == {artifact.sha256 for artifact in artifacts[1:]}
    with open_cache(disk=size):
        assert len(list(folder.iterdir())) == 1


def test_junk_in_the_folder_does_not_prevent_the_start(
    add_tenants: Any, open_cache: Any, acquire_all: Any, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    artifacts = add_tenants(2)
    with open_cache() as cache:
        acquire_all(cache, *artifacts)
    manifest = (folder / artifacts[0].sha256 / MANIFEST_FILE).read_text()
    for letter, content in zip("abcde", ["1" * 5000, "[" * 100_000, "", "\ud800", manifest[:-9]], strict=True):
        (folder / (letter * 64)).mkdir()
        (folder / (letter * 64) / MANIFEST_FILE).write_text(content, "utf-8", "surrogatepass")
    (folder / ("0" * 64)).symlink_to(tmp_path / "nowhere")
    (folder / ("1" * 64)).write_text("a file")
    (folder / ("2" * 64)).mkdir()
    (folder / ("2" * 64) / MANIFEST_FILE).mkdir()
    (folder / artifacts[1].sha256 / "link").symlink_to(tmp_path / "nowhere")
    others = {"notes.txt", "link", "lost+found"}
    (folder / "notes.txt").write_text("of somebody else")
    (folder / "link").symlink_to(tmp_path / "nowhere")
    (folder / "lost+found").mkdir()
    with open_cache() as cache:
        assert cache.owners == {artifacts[0].sha256: artifacts[0].tenant}
        assert {path.name for path in folder.iterdir()} == {artifacts[0].sha256, *others}
        assert [one for one in acquire_all(cache, *artifacts) if isinstance(one, Exception)] == []
    assert [record.getMessage().count("lost+found") for record in caplog.records] == [1]


def test_an_entry_that_vanishes_while_the_folder_is_listed_is_skipped(
    add_tenants: Any, open_cache: Any, acquire_all: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, vanishing = add_tenants(2)
    with open_cache() as cache:
        acquire_all(cache, kept, vanishing)
    real = Path.iterdir

    def list_and_delete(path: Path) -> Any:
        found = list(real(path))
        if path == folder:
            shutil.rmtree(folder / vanishing.sha256)
        return iter(found)

    monkeypatch.setattr(Path, "iterdir", list_and_delete)
    with open_cache() as cache:
        assert list(cache.owners) == [kept.sha256]


def test_a_file_in_the_place_of_the_folder_is_an_error_that_says_so(open_cache: Any, folder: Path) -> None:
    folder.write_text("a file")
    with pytest.raises(WorkspaceError, match=str(folder)), open_cache():
        pass


@pytest.mark.parametrize("damage", ["truncated", "changed"])
def test_damaged_files_on_disk_are_fetched_again_once(
    damage: str, store: Any, add_tenants: Any, open_cache: Any, acquire_all: Any, folder: Path
) -> None:
    (artifact,) = add_tenants(1)
    with open_cache() as cache:
        acquire_all(cache, artifact)
    path = folder / artifact.sha256 / TENSORS_FILE
    content = path.read_bytes()
    path.write_bytes(content[:-5] if damage == "truncated" else content[:-1] + bytes([content[-1] ^ 1]))
    with open_cache() as cache:
        assert acquire_all(cache, artifact)[0].sha256 == artifact.sha256
        assert store.fetches[artifact.sha256] == 2
    (store.folder / artifact.sha256 / TENSORS_FILE).write_bytes(content[:-5])
    path.write_bytes(b"")
    with open_cache() as cache:
        (refused,) = acquire_all(cache, artifact)
        assert isinstance(refused, ArtifactError)
        assert store.fetches[artifact.sha256] == 4
        assert cache.counts == (0, 0, 0)


def test_while_the_store_fails_loaded_artifacts_are_given_and_the_error_is_reported(
    store: Any, add_tenants: Any, open_cache: Any, acquire_all: Any
) -> None:
    here, there = add_tenants(2)
    with open_cache() as cache:
        acquire_all(cache, here)
        store.fails = True
        loaded, refused = acquire_all(cache, here, there)
        assert loaded.tenant == here.tenant
        assert isinstance(refused, RegistryError)
        assert "no answer" in cache.store_error
        store.fails = False
        acquire_all(cache, there)
        assert cache.store_error == ""


def test_a_successful_retry_clears_the_error_and_is_not_repeated(
    store: Any, add_tenants: Any, open_cache: Any, acquire_all: Any
) -> None:
    (artifact,) = add_tenants(1)
    with open_cache() as cache:
        store.fails = True
        acquire_all(cache, artifact)
        asyncio.run(cache.retry_failed_fetch())
        assert "no answer" in cache.store_error
        store.fails = False
        asyncio.run(cache.retry_failed_fetch())
        assert (cache.store_error, cache.count_pins(artifact), cache.counts[0]) == ("", 0, 1)
        before = store.fetches.total()
        asyncio.run(cache.retry_failed_fetch())
        assert store.fetches.total() == before


def test_a_missing_artifact_is_no_error_of_the_store(add_tenants: Any, open_cache: Any, acquire_all: Any) -> None:
    (artifact,) = add_tenants(1)
    with open_cache() as cache:
        (refused,) = acquire_all(cache, replace(artifact, sha256="0" * 64))
        assert isinstance(refused, ArtifactError)
        assert cache.store_error == ""


def test_an_unexpected_error_of_the_store_is_reported_as_one_of_the_registry(
    store: Any, add_tenants: Any, open_cache: Any, acquire_all: Any, monkeypatch: Any
) -> None:
    (artifact,) = add_tenants(1)

    def fail(*_arguments: Any) -> Path:
        raise OSError("a broken pipe")

    monkeypatch.setattr(store, "fetch", fail)
    with open_cache() as cache:
        (refused,) = acquire_all(cache, artifact)
        assert isinstance(refused, RegistryError)
        assert "OSError: a broken pipe" in cache.store_error


def test_a_failed_store_that_hangs_blocks_one_thread_only(
    store: Any, add_tenants: Any, open_cache: Any, acquire_all: Any
) -> None:
    kept, *cold = add_tenants(9)
    with open_cache() as cache:
        (size,) = (one.size_bytes for one in acquire_all(cache, kept))
    with open_cache(device=size) as cache:
        store.fails = True
        acquire_all(cache, cold[0])
        store.may_answer.clear()

        async def run() -> tuple[list[Any], Any]:
            retrying = asyncio.create_task(cache.retry_failed_fetch())
            while store.requests[cold[0].sha256] < 2:
                await asyncio.sleep(0.001)
            refused = await asyncio.gather(*map(cache.acquire, cold[1:]), return_exceptions=True)
            from_disk = await cache.acquire(kept)
            store.may_answer.set()
            await retrying
            return refused, from_disk

        refused, from_disk = asyncio.run(asyncio.wait_for(run(), 60))
        assert {type(one) for one in refused} == {RegistryError}
        assert "another retry in progress" in str(refused[0])
        assert from_disk.tenant == kept.tenant
        assert store.fetches.total() == 3


def test_on_a_full_disk_an_artifact_is_loaded_without_being_kept_and_the_store_is_not_blamed(
    store: Any, add_tenants: Any, open_cache: Any, acquire_all: Any, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = add_tenants(2)
    real, full = store.fetch, [folder]

    def fetch(artifact: Any, place: Path) -> Path:
        fetched: Path = real(artifact, place)
        if any(one in fetched.parents for one in full):
            raise WorkspaceError("to write", "No space left on device", "free space on this disk and run again")
        return fetched

    store.fetch = fetch
    with open_cache() as cache:
        (loaded,) = acquire_all(cache, first)
        assert loaded.tenant == first.tenant
        assert (cache.store_error, list(folder.iterdir())) == ("", [])
        assert "is not kept on disk: wanted to write; got No space left on device" in caplog.text
        full.append(Path("/"))
        (refused,) = acquire_all(cache, second)
        assert isinstance(refused, WorkspaceError)
        assert "No space left" in cache.store_error
        full.clear()
        assert not isinstance(acquire_all(cache, second)[0], Exception)
        assert (cache.store_error, [one.name for one in folder.iterdir()]) == ("", [second.sha256])
