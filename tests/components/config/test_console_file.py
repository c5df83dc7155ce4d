"""The settings of a console without a workspace."""

from pathlib import Path

import pytest

from components.config.console_file import read_console_settings
from components.errors import ConfigError


def test_both_sections_are_read_as_in_params_yaml(tmp_path: Path) -> None:
    path = tmp_path / "console.yaml"
    path.write_text('console: {cookie_path: /}\noidc: {issuer: "https://id.example", client_id: c, tenant_claim: t}\n')
    settings = read_console_settings(path)
    assert (settings.console.cookie_path, settings.console.port) == ("/", 8400)
    assert settings.oidc is not None
    assert settings.oidc.client_id == "c"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("consol: {}", "did you mean 'console'"),
        ("console: {cookie_paht: /}", "did you mean 'cookie_path'"),
        ("base: {path: base}", "base"),
        ("console: {url: fleet.example.com/console}", "without a slash at its end"),
        ("console: {cookie_path: /mlflow}", "cookie_path"),
        ("- console", "write the sections console and oidc"),
        (None, "correct --settings"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, text: str | None, words: str) -> None:
    path = tmp_path / "console.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_console_settings(path)
