"""Where engines read artifacts."""

from pathlib import Path

import pytest

from components.errors import WorkersError
from components.serving.remote.engine_store import EngineStore

SHA256 = "a" * 64


def _write(folder: Path) -> None:
    (folder / SHA256).mkdir(parents=True)
    (folder / SHA256 / "manifest.json").write_text("{}", encoding="utf-8")
    (folder / SHA256 / "prefix.safetensors").write_bytes(b"tensors")


def test_without_an_url_engines_read_the_folder_itself(tmp_path: Path) -> None:
    _write(tmp_path)
    store = EngineStore(tmp_path)
    assert store.is_published(SHA256)
    store.publish(SHA256)
    assert store.get_address(SHA256) == f"{tmp_path.as_uri()}/{SHA256}"
    store.remove([SHA256])
    assert (tmp_path / SHA256).is_dir(), "the folder's own files are its owner's to delete"


def test_artifacts_are_copied_once_and_removed(tmp_path: Path) -> None:
    _write(tmp_path / "own")
    store = EngineStore(tmp_path / "own", f"file://{tmp_path}/engines/")
    assert not store.is_published(SHA256)
    store.publish(SHA256)
    copied = tmp_path / "engines" / SHA256
    assert (copied / "prefix.safetensors").read_bytes() == b"tensors"
    assert store.get_address(SHA256) == f"file://{tmp_path}/engines/{SHA256}"
    (copied / "manifest.json").unlink()
    store.publish(SHA256)
    assert not (copied / "manifest.json").exists(), "it was copied by this process already"
    store.remove([SHA256])
    assert not (copied / "prefix.safetensors").exists()
    assert not store.is_published(SHA256)


def test_a_wrong_url_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WorkersError):
        EngineStore(tmp_path, "ftp://host/folder")
