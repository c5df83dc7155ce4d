"""infra/nginx/fleet.conf as it is, before a real console, MLflow and Prefect: who passes; a retrain through it."""

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fleet_proxy import run_fleet_proxy
from load_balancer import PROGRAM
from mlflow_server import run_server
from oidc_provider import AUDIENCE, CLIENT, Provider, run_provider
from prefect_server import FEW_SERVICES, run_server_from_empty
from processes import PREFIXFLEET, find_free_port, run_in
from served_console import serve_console_in_thread
from waiting import LIMIT_S
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from components.access.api_keys import ApiKeys
from components.config.oidc import OidcConfig
from components.stages.workspace import Workspace

pytestmark = [pytest.mark.slow, pytest.mark.skipif(PROGRAM is None, reason="no nginx on this machine")]


@dataclass(frozen=True)
class Site:
    """A fleet behind nginx."""

    url: str
    root: Path
    provider: Provider
    keys: dict[str, str]
    """Role -> a key's text."""

    def ask(self, method: str, path: str, key: str | None = None, **values: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return httpx.request(method, f"{self.url}{path}", headers={**headers, **values.pop("headers", {})}, **values)


@pytest.fixture(scope="module")
def site(
    make_checkout_in: Any, empty_mlflow: Path, empty_prefect: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("behind-nginx")
    root = make_checkout_in(folder, ("alder",))
    (folder / "mlflow").mkdir()
    database = folder / "mlflow" / "mlflow.db"
    database.write_bytes(empty_mlflow.read_bytes())
    with ExitStack() as stack:
        provider = stack.enter_context(run_provider())
        pool = stack.enter_context(ThreadPoolExecutor())
        mlflow = run_server(database, str(folder / "store"), "/mlflow")
        starting = pool.submit(mlflow.__enter__)
        prefect_port = find_free_port()
        settings = {
            **FEW_SERVICES,
            "PREFECT_SERVER_API_BASE_PATH": "/prefect/api",
            "PREFECT_SERVER_UI_SERVE_BASE": "/prefect",
            "PREFECT_SERVER_UI_API_URL": "/prefect/api",
            "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(folder / "prefect-pages"),
        }
        stack.enter_context(run_server_from_empty(empty_prefect, folder / "prefect", prefect_port, settings))
        running = starting.result()
        stack.push(mlflow)
        oidc = OidcConfig(issuer=provider.url, audience=AUDIENCE, client_id=CLIENT, roles={"viewer": ["lookers"]})
        console = stack.enter_context(serve_console_in_thread(root, oidc, cookie_path="/"))
        keys: ApiKeys = console.keys
        texts = {role: keys.create(None, role=role)[1] for role in ("viewer", "operator", "admin")}
        texts["tenant"] = keys.create("alder")[1]
        ports = {
            "console": int(console.url.split(":")[2].partition("/")[0]),
            "gateway": find_free_port(),
            "mlflow": int(running.uri.split(":")[2].partition("/")[0]),
            "prefect": prefect_port,
        }
        url = stack.enter_context(run_fleet_proxy(folder / "nginx", ports))
        yield Site(url, root, provider, texts)


def test_without_credentials_programs_get_401_and_browsers_the_login(site: Site) -> None:
    for path in ("/mlflow/api/2.0/mlflow/experiments/get?experiment_id=0", "/prefect/api/admin/version"):
        for key in (None, "pf-0-0"):
            answer = site.ask("GET", path, key)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
            assert "/console/" in answer.json()["message"]
    page = site.ask("GET", "/mlflow/", headers={"accept": "text/html,*/*"})
    assert (page.status_code, page.headers["location"]) == (302, f"{site.url}/console/login?next=/mlflow/")
    assert site.ask("GET", "/console/access?role=viewer", site.keys["admin"]).status_code == 404
    assert site.ask("GET", "/fleet-access", site.keys["admin"]).status_code == 404


READS = [
    ("GET", "/mlflow/"),
    ("GET", "/mlflow/api/2.0/mlflow/experiments/get?experiment_id=0"),
    ("POST", "/mlflow/api/2.0/mlflow/experiments/search"),
    ("POST", "/mlflow/ajax-api/2.0/mlflow/runs/search"),
    ("GET", "/prefect/api/admin/version"),
    ("POST", "/prefect/api/flow_runs/filter"),
    ("POST", "/prefect/api/ui/flow_runs/history"),
    ("GET", "/prefect/"),
]
WRITES = [
    ("POST", "/mlflow/api/2.0/mlflow/runs/create"),
    ("POST", "/mlflow/api/2.0/mlflow/experiments/create"),
    ("DELETE", "/mlflow/api/2.0/mlflow/registered-models/delete"),
    ("PUT", "/mlflow/api/2.0/mlflow-artifacts/artifacts/search"),
    ("POST", "/mlflow/api/2.0/mlflow-artifacts/mpu/create/x/search"),
    ("POST", "/mlflow/api/2.0/mlflow/runs/delete?x=/runs/search"),
    ("POST", "/mlflow/api/2.0/mlflow/runs/search/../delete"),
    ("POST", "/mlflow/api/2.0/mlflow/runs/search/%2e%2e/delete"),
    ("POST", "/prefect/api/flows/"),
    ("POST", "/prefect/api/block_documents/filter"),
    ("POST", "/prefect/api/block_documents%2Ffilter"),
    ("GET", "/prefect/api/block_documents/00000000-0000-0000-0000-000000000000?include_secrets=true"),
    ("DELETE", "/prefect/api/flows/00000000-0000-0000-0000-000000000000"),
    ("GET", "/prefect/api/events/in"),
]


def test_a_viewer_reads_an_operator_writes_and_a_tenant_does_neither(site: Site) -> None:
    for method, path in READS:
        body = {"json": {}} if method == "POST" else {}
        assert site.ask(method, path, site.keys["viewer"], **body).status_code not in (401, 403), path
        assert site.ask(method, path, site.keys["tenant"], **body).status_code == 403, path
    for method, path in WRITES:
        refused = site.ask(method, path, site.keys["viewer"])
        assert refused.status_code == 403, path
        assert "wanted the role operator" in refused.json()["message"]
        assert site.ask(method, path, site.keys["operator"]).status_code not in (401, 403), path


def test_a_fragment_in_the_request_line_does_not_make_a_write_look_like_a_search(site: Site) -> None:
    import socket

    host, _, port = site.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=60) as client:
        lines = (
            "POST /mlflow/api/2.0/mlflow/experiments/create#/runs/search HTTP/1.1",
            f"Host: {host}:{port}",
            f"Authorization: Bearer {site.keys['viewer']}",
            "Content-Length: 0",
            "Connection: close",
        )
        client.sendall("\r\n".join((*lines, "", "")).encode())
        assert client.recv(100).startswith(b"HTTP/1.1 403")


def test_while_the_console_is_away_nothing_passes_and_clients_are_told_to_ask_again(tmp_path: Path) -> None:
    names = ("console", "gateway", "mlflow", "prefect")
    with run_fleet_proxy(tmp_path / "nginx", {name: find_free_port() for name in names}) as url:
        for path in ("/mlflow/", "/prefect/api/health"):
            answer = httpx.get(f"{url}{path}", headers={"authorization": "Bearer pf-1-2"})
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")


def test_one_login_at_the_provider_counts_for_all_three(site: Site) -> None:
    site.provider.is_public = True
    site.provider.person = {"sub": "p-9", "groups": ["lookers"]}
    with httpx.Client(base_url=site.url) as browser:
        there = browser.get("/console/login/oidc?next=/mlflow/").headers["location"]
        back = httpx.get(there).headers["location"]
        assert back.startswith(f"{site.url}/console/login/oidc/callback?")
        assert 'content="0;url=/mlflow/"' in browser.get(back).text
        assert browser.get("/mlflow/").status_code == 200
        assert browser.get("/prefect/api/health").status_code == 200
        filtered = browser.post("/prefect/api/flow_runs/filter", json={}, headers={"origin": site.url})
        assert filtered.status_code == 200
        foreign = {"origin": "http://evil.example"}
        assert browser.post("/prefect/api/flow_runs/filter", json={}, headers=foreign).status_code == 403
        assert browser.post("/prefect/api/flows/", json={"name": "x"}).status_code == 403
    token = site.provider.make_token(groups=["lookers"])
    assert site.ask("GET", "/prefect/api/health", token).status_code == 200
    assert site.ask("GET", "/prefect/api/health", site.provider.make_token(exp=1)).status_code == 401


def test_connections_by_which_clients_write_need_an_operator(site: Site) -> None:
    url = site.url.replace("http", "ws")
    for path, role, passes in (
        ("events/in", "operator", True),
        ("events/in", "viewer", False),
        ("task_runs/subscriptions/scheduled", "viewer", False),
        ("events/out", "viewer", True),
    ):
        header = {"Authorization": f"Bearer {site.keys[role]}"}
        if passes:
            connect(f"{url}/prefect/api/{path}", additional_headers=header, subprotocols=["prefect"]).close()  # type: ignore[list-item]
        else:
            with pytest.raises(InvalidStatus, match="403"):
                connect(f"{url}/prefect/api/{path}", additional_headers=header)


def test_a_retrain_works_through_it_with_an_operators_key_and_not_with_a_viewers(site: Site) -> None:
    common = {
        "MLFLOW_TRACKING_URI": f"{site.url}/mlflow",
        "PREFECT_API_URL": f"{site.url}/prefect/api",
        "PREFIXFLEET_DATABASE": f"sqlite:///{site.root}/var/prefixfleet.db",
    }

    def retrain(key: str, mlflow_key: str) -> Any:
        own = {"MLFLOW_TRACKING_TOKEN": mlflow_key, "PREFECT_API_AUTH_STRING": f"fleet:{key}"}
        with pytest.MonkeyPatch.context() as patch:
            for name in [name for name in os.environ if name.startswith(("PREFECT_", "MLFLOW_"))]:
                patch.delenv(name)
            for name, value in {**common, **own}.items():
                patch.setenv(name, value)
            return run_in(site.root, PREFIXFLEET, "retrain", check=False)

    for keys, variable in (
        ((site.keys["viewer"], site.keys["operator"]), "PREFECT_API_AUTH_STRING"),
        ((site.keys["operator"], "pf-0-0"), "MLFLOW_TRACKING_TOKEN"),
    ):
        refused = retrain(*keys)
        assert refused.returncode == 2, refused.stderr
        assert f"in {variable}" in refused.stderr, refused.stderr
        assert not any(key in refused.stdout + refused.stderr for key in keys)
    done = retrain(site.keys["operator"], site.keys["operator"])
    assert done.returncode == 0, done.stdout + done.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"{site.url}/mlflow")
        patch.setenv("MLFLOW_TRACKING_TOKEN", site.keys["viewer"])
        workspace = Workspace(site.root)
        registry = workspace.registry
        champion = registry.find_champion("alder")
        assert champion.version == "1"
        assert list(registry.fetch(champion, site.root / "fetched").rglob("*.safetensors"))
    secret = site.keys["operator"].split("-", 2)[2].encode()
    files = [path for path in site.root.parent.rglob("*") if path.is_file()]
    assert [path for path in files if secret in path.read_bytes()] == []
    runs = site.ask("POST", "/prefect/api/flow_runs/filter", site.keys["viewer"], json={}).json()
    assert any(run["state"]["type"] == "COMPLETED" for run in runs)


def test_the_pages_of_both_work_in_a_browser_after_a_login_with_a_viewers_key(site: Site) -> None:
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no chromium on this machine (Debian: apt-get install chromium)")
    refused: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(1000 * LIMIT_S)
        page.goto(f"{site.url}/mlflow/")
        assert page.url == f"{site.url}/console/login?next=/mlflow/"
        page.on("response", lambda one: refused.append(one.url) if one.status in (401, 403, 502, 503) else None)
        page.fill("#key", site.keys["viewer"])
        page.click("text=Log in >> nth=-1")
        page.wait_for_url(f"{site.url}/mlflow/**")
        page.wait_for_selector("text=Experiments")
        page.goto(f"{site.url}/prefect/")
        page.wait_for_selector("text=Deployments")
        browser.close()
    assert refused == []
