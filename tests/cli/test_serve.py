"""The command `serve`: only the options that are set override params.yaml."""

import pytest

from components.serving.http import server


@pytest.fixture
def overrides(monkeypatch, tmp_path):
    """A list that gets the overrides of each call; no server is started."""
    calls = []
    (tmp_path / "params.yaml").touch()
    monkeypatch.setattr(server, "serve", lambda _workspace, overrides, _mount: calls.append(overrides))
    return calls


def test_without_options_nothing_is_overridden(call, tmp_path, overrides):
    assert call(tmp_path, "serve").exit_code == 0
    assert overrides == [{}]


def test_options_that_are_set_override_params_and_paths_become_text(call, tmp_path, overrides):
    assert call(tmp_path, "serve", "--port", "0", "--host", "::1", "--tls-key", "key.pem").exit_code == 0
    assert overrides == [{"port": 0, "host": "::1", "tls_key": "key.pem"}]


def test_an_impossible_port_exits_2(call, tmp_path, overrides):
    assert call(tmp_path, "serve", "--port", "65536").exit_code == 2
    assert overrides == []
