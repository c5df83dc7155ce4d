"""Where the product's own files for workspaces are found: in a checkout, and in an installation."""

from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

from components.errors import WorkspaceError
from components.stages.commands import product_files


@pytest.fixture
def site_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an installation, with a file that another package has put there."""
    folder = tmp_path / "lib/site-packages"
    metadata = folder / "prefixfleet-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "RECORD").write_text("../../share/prefixfleet/dvc.yaml,,\n", encoding="utf-8")
    (folder / "pyproject.toml").write_text("", encoding="utf-8")
    monkeypatch.setattr(product_files, "_PROJECT", folder)
    monkeypatch.setattr(product_files, "distribution", lambda name: PathDistribution(metadata))
    return folder


def test_a_checkout_has_its_own_files() -> None:
    assert (product_files.find_product_files() / "pyproject.toml").is_file()


def test_an_installation_has_them_in_share_also_beside_a_pyproject_of_another_package(site_packages, tmp_path) -> None:
    share = tmp_path / "share/prefixfleet"
    share.mkdir(parents=True)
    (share / "dvc.yaml").touch()
    assert product_files.find_product_files() == share


def test_an_installation_without_them_is_an_error(site_packages) -> None:
    with pytest.raises(WorkspaceError, match="an installation without them"):
        product_files.find_product_files()
