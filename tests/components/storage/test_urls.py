"""URLs are made absolute and shown without passwords."""

from pathlib import Path

import pytest

from components.storage.urls import format_first_line, hide_password, read_tracking_uri, resolve_uri


@pytest.mark.parametrize(
    ("uri", "wanted"),
    [
        ("sqlite:///var/mlflow.db", "sqlite:////w/var/mlflow.db"),
        ("sqlite:////abs/mlflow.db", "sqlite:////abs/mlflow.db"),
        ("http://host:5000", "http://host:5000"),
        ("postgresql+psycopg2://u:p@h/d", "postgresql+psycopg2://u:p@h/d"),
    ],
)
def test_a_relative_sqlite_path_is_taken_from_the_workspace(uri: str, wanted: str) -> None:
    assert resolve_uri(uri, Path("/w")) == wanted


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at http://joe:secret@host:1/x and more", "at http://joe:***@host:1/x and more"),
        ("http://host:5000/a@b", "http://host:5000/a@b"),
        ("no address", "no address"),
    ],
)
def test_passwords_are_not_shown(text: str, shown: str) -> None:
    assert hide_password(text) == shown


def test_the_environment_wins_over_the_configured_tracking_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://other:5000")
    assert read_tracking_uri("sqlite:///mlflow.db") == "http://other:5000"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    assert read_tracking_uri("sqlite:///mlflow.db") == "sqlite:///mlflow.db"


def test_an_error_is_shown_by_its_first_line_or_its_type() -> None:
    assert format_first_line(ValueError("no way to http://ada:secret@db/x\nmore")) == "no way to http://ada:***@db/x"
    assert format_first_line(ValueError("x" * 999)) == "x" * 400
    assert format_first_line(ZeroDivisionError()) == "ZeroDivisionError"
