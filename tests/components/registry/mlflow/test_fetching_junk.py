"""Whatever lies where a version's files belong is replaced by them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from registered_versions import add_version, open_mlflow

from components.errors import ArtifactError
from components.registry.artifact import load_artifact
from components.registry.manifest import MANIFEST_FILE, TENSORS_FILE, Manifest
from components.registry.registry import Registry


def test_a_tag_that_names_another_folder_removes_and_writes_nothing(
    registry: Registry, save: Callable[..., Manifest], tmp_path: Path
) -> None:
    add_version(registry, save, tmp_path / "made")
    (tmp_path / "params.yaml").write_text("base: {}")
    open_mlflow(registry).set_model_version_tag("prefix-acme", "1", "sha256", "../params.yaml")
    (version,) = registry.find_versions("acme")
    with pytest.raises(ArtifactError, match="no digest"):
        registry.fetch(version, tmp_path / "champions" / version.sha256)
    assert (tmp_path / "params.yaml").read_text() == "base: {}"


@pytest.mark.parametrize("junk", ["a file", "a broken link", "folders", "links", "a huge number"])
def test_a_version_is_fetched_whatever_is_in_its_place(
    registry: Registry, save: Callable[..., Manifest], tmp_path: Path, junk: str
) -> None:
    version = add_version(registry, save, tmp_path / "made")
    folder = tmp_path / "champions" / version.sha256
    folder.parent.mkdir()
    if junk == "a file":
        folder.write_text("")
    elif junk == "a broken link":
        folder.symlink_to(tmp_path / "nowhere")
    else:
        folder.mkdir()
        for name in (TENSORS_FILE, MANIFEST_FILE):
            if junk == "folders":
                (folder / name).mkdir()
            elif junk == "links":
                (folder / name).symlink_to(tmp_path / "nowhere")
            else:
                (folder / name).write_text("1" * 5000)
    assert registry.fetch(version, folder) == folder
    assert load_artifact(folder, None)[1].sha256 == version.sha256
    assert not (tmp_path / "nowhere").exists()
