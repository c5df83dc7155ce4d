"""HTTPS with a certificate, and files with which it cannot work."""

import ssl

import httpx
import pytest
from certificates import CertificatePair
from cryptography.hazmat.primitives import serialization
from typer.testing import CliRunner

from cli.main import app
from components.config.serve import ServeConfig
from components.errors import ConfigError
from components.serving.http.tls import check_tls


@pytest.fixture
def pair(tmp_path):
    return CertificatePair(tmp_path, "mine")


def check(certificate, key):
    check_tls(ServeConfig(tls_certificate=certificate and str(certificate), tls_key=key and str(key)))


def test_a_pair_in_one_or_two_files_and_no_files_are_accepted(pair, tmp_path):
    check(None, None)
    check(pair.certificate, pair.key)
    both = tmp_path / "both.pem"
    both.write_bytes(pair.certificate.read_bytes() + pair.key.read_bytes())
    check(both, None)


def test_each_kind_of_wrong_file_has_an_error_of_its_own(pair, tmp_path):
    (tmp_path / "text.pem").write_text("nothing")
    (tmp_path / "locked.pem").write_bytes(pair.to_pem(serialization.BestAvailableEncryption(b"secret")))
    wrong = [
        (pair.certificate, CertificatePair(tmp_path, "other").key, "another certificate"),
        (pair.certificate, None, "the key is missing"),
        (pair.certificate, tmp_path / "none.pem", r"none\.pem: No such file"),
        (tmp_path / "none.pem", pair.key, "--tls-certificate"),
        (tmp_path / "text.pem", pair.key, "not PEM"),
        (tmp_path, pair.key, "Is a directory"),
        (pair.certificate, tmp_path / "locked.pem", "passphrase.*openssl pkey"),
        (None, pair.key, "a certificate for the TLS key"),
    ]
    for certificate, key, message in wrong:
        with pytest.raises(ConfigError, match=message):
            check(certificate, key)


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
