"""The command `prefixfleet console`: its address, its pages, and what it refuses before it listens."""

import socket
from types import SimpleNamespace

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from processes import start_command
from waiting import LIMIT_S

from cli.serve import make_console_mount
from components.access.api_keys import ApiKeys
from components.config.serve import ServeConfig
from components.console.server import serve_console
from components.errors import ConfigError
from components.stages.workspace import Workspace


def test_the_command_tells_its_address_and_serves_until_it_is_stopped(fleet_root):
    with start_command(fleet_root, "console", "--port", "0") as started:
        started.read_until("the console is at")
        url = started.stderr.rpartition("the console is at ")[2].strip()
        page = httpx.get(url.removesuffix("console/"), follow_redirects=True, timeout=LIMIT_S)
        assert (page.status_code, str(page.url)) == (200, url)
        assert "alder" in page.text
        started.process.terminate()
        assert started.wait() in (0, 143)


def test_another_address_needs_a_key_and_one_that_is_used_is_refused(make_fleet_root, tmp_path):
    root = make_fleet_root(tmp_path)
    with pytest.raises(ConfigError, match="an API key, to serve on"):
        serve_console(root, {"host": "0.0.0.0"})
    ApiKeys(Workspace(root).database, lambda: 1.0).create(None)
    with socket.create_server(("127.0.0.1", 0)) as used, pytest.raises(ConfigError, match="another port"):
        serve_console(root, {"port": used.getsockname()[1]})


def test_a_wrong_value_names_the_key(fleet_root):
    with pytest.raises(ConfigError, match="server"):
        serve_console(fleet_root, {"server": "ftp://nowhere"})


def test_the_model_server_has_the_console_where_its_settings_say_so(fleet_root):
    workspace = Workspace(fleet_root)
    for is_wanted, status in ((True, 200), (False, 404)):
        app = FastAPI(redirect_slashes=False)
        service = SimpleNamespace(
            params=workspace.params.model_copy(update={"serve": ServeConfig(console=is_wanted)}),
            database=workspace.database,
            metrics_page=SimpleNamespace(render=lambda: b""),
        )
        make_console_mount(workspace)(app, service)
        client = TestClient(app, base_url="http://localhost")
        assert client.get("/console/").status_code == status
        assert client.get("/console").status_code == status
        assert client.get("/console", follow_redirects=False).headers.get("location") in ("console/", None)
    workspace.database.close()
