"""The section `oidc`: what is refused when it is read, and how the message says it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from components.config import load_params
from components.errors import ConfigError

GOOD = {"issuer": "https://id.example", "audience": "api", "roles": {"admin": ["a"]}}


def load(folder: Path, **values: Any) -> Any:
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump({"base": {"path": "base"}, "oidc": {**GOOD, **values}}), encoding="utf-8")
    return load_params(path).oidc


def test_a_section_needs_an_issuer_a_use_and_roles(tmp_path: Path) -> None:
    assert load(tmp_path).algorithms == ["RS256", "PS256", "ES256", "EdDSA"]
    assert load(tmp_path, issuer="http://localhost:9400", client_id="console", audience=None).audience is None


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"issuer": "http://id.example"}, "https"),
        ({"issuer": "https://id.example/?x=1"}, "https"),
        ({"issuer": "https://id.example:port"}, "https"),
        ({"issuer": "https://"}, "https"),
        ({"algorithms": ["HS256"]}, "HS256"),
        ({"algorithms": ["none"]}, "none"),
        ({"algorithms": []}, "algorithms"),
        ({"audience": None}, "an audience"),
        ({"roles": {}}, "nobody may do anything"),
        ({"roles": {"admin": ["a"], "viewer": ["a"]}}, "one role only"),
        ({"roles": {"boss": ["a"]}}, "boss"),
        ({"tenant_pattern": "tenant"}, "one \\*"),
        ({"scopes": ["email"]}, "openid"),
        ({"leeway_seconds": 3600}, "leeway_seconds"),
        ({"client_secret": "x"}, "client_secret"),
    ],
)
def test_wrong_values_are_refused(tmp_path: Path, values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load(tmp_path, **values)
