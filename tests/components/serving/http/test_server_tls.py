"""HTTPS with a certificate: the server's command, and its clients."""

import ssl

import httpx
import pytest
from certificates import CertificatePair
from typer.testing import CliRunner

from cli.main import app


@pytest.fixture
def pair(tmp_path):
    return CertificatePair(tmp_path, "mine")


def test_the_command_exits_with_2_and_the_reason(mlflow_fleet, pair, tmp_path):
    options = ("--tls-certificate", pair.certificate, "--tls-key", CertificatePair(tmp_path, "other").key)
    root = mlflow_fleet.workspace.root
    result = CliRunner().invoke(app, ["-C", str(root), "serve", "--port", "0", *map(str, options)])
    assert result.exit_code == 2
    assert "another certificate" in result.stderr


@pytest.mark.slow
def test_only_a_client_that_trusts_the_certificate_is_answered(mlflow_fleet, pair, start_server):
    options = ("--tls-certificate", str(pair.certificate), "--tls-key", str(pair.key))
    server = start_server(mlflow_fleet.workspace.root, *options)
    assert server.url.startswith("https://127.0.0.1:")
    trusting = ssl.create_default_context(cafile=str(pair.certificate))
    assert httpx.get(f"{server.url}/healthz", verify=trusting, timeout=60).json()["status"] == "ok"
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"{server.url}/healthz", timeout=60)
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"{server.url.replace('https', 'http')}/healthz", timeout=60)
