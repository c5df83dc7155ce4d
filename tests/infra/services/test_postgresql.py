"""Where PostgreSQL's programs are looked for."""

from pathlib import Path

import pytest

from components.errors import WorkspaceError
from infra.services import postgresql
from infra.services.settings import Settings, read_settings


def with_folder(tmp_path: Path, folder: str) -> Settings:
    return read_settings(tmp_path).model_copy(update={"postgresql_bin": folder})


def test_a_named_folder_wins(tmp_path):
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("initdb", "postgres"):
        (programs / name).touch()
    assert postgresql.find_programs(with_folder(tmp_path, "bin")) == programs


def test_a_missing_installation_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(postgresql, "_DEBIAN_FOLDER", tmp_path)
    with pytest.raises(WorkspaceError, match=r"got none on PATH.*apt-get install postgresql.*POSTGRESQL_BIN"):
        postgresql.find_programs(with_folder(tmp_path, ""))
    with pytest.raises(WorkspaceError, match=r"got no initdb and postgres in .*nowhere"):
        postgresql.find_programs(with_folder(tmp_path, "nowhere"))
