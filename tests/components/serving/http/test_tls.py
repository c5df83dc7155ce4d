"""HTTPS as a caller meets it, and files with which there would be none."""

import datetime
import ssl
import subprocess
import sys
from ipaddress import IPv4Address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from components.config.serve import ServeConfig
from components.errors import ConfigError
from components.serving.http.tls import check_tls

COMMAND = str(Path(sys.executable).with_name("prefixfleet"))


class Pair:
    """A certificate of 127.0.0.1, signed by itself, and its key."""

    def __init__(self, folder, name):
        self.certificate, self.key = folder / f"{name}.pem", folder / f"{name}-key.pem"
        self._key = ec.generate_private_key(ec.SECP256R1())
        me = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "prefixfleet")])
        now = datetime.datetime.now(datetime.UTC)
        made = (
            x509.CertificateBuilder(me, me, self._key.public_key(), x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        self.key.write_bytes(self.to_pem(serialization.NoEncryption()))

    def to_pem(self, encryption):
        return self._key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


@pytest.fixture
def pair(tmp_path):
    return Pair(tmp_path, "mine")


def check(certificate, key):
    check_tls(ServeConfig(tls_certificate=certificate and str(certificate), tls_key=key and str(key)))


def test_a_pair_and_none_are_served_with(pair, tmp_path):
    check(None, None)
    check(pair.certificate, pair.key)
    both = tmp_path / "both.pem"
    both.write_bytes(pair.certificate.read_bytes() + pair.key.read_bytes())
    check(both, None)


def test_files_without_a_connection_in_them_are_told_apart(pair, tmp_path):
    (tmp_path / "text.pem").write_text("nothing")
    (tmp_path / "locked.pem").write_bytes(pair.to_pem(serialization.BestAvailableEncryption(b"secret")))
    wrong = [
        (pair.certificate, Pair(tmp_path, "other").key, "another certificate"),
        (pair.certificate, None, "the key is missing"),
        (pair.certificate, tmp_path / "none.pem", r"none\.pem: No such file"),
        (tmp_path / "none.pem", pair.key, "--tls-certificate"),
        (tmp_path / "text.pem", pair.key, "not PEM"),
        (tmp_path, pair.key, "Is a directory"),
        (pair.certificate, tmp_path / "locked.pem", "passphrase.*openssl pkey"),
        (None, pair.key, "a certificate for the TLS key"),
    ]
    for certificate, key, told in wrong:
        with pytest.raises(ConfigError, match=told):
            check(certificate, key)


def test_the_command_ends_with_2_and_says_why(fleet, pair, tmp_path):
    options = ("--tls-certificate", pair.certificate, "--tls-key", Pair(tmp_path, "other").key)
    done = subprocess.run(
        [COMMAND, "-C", str(fleet.workspace.root), "serve", "--port", "0", *map(str, options)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert "another certificate" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_caller_who_trusts_the_certificate_is_answered_and_no_other(fleet, pair, start_server):
    options = ("--tls-certificate", str(pair.certificate), "--tls-key", str(pair.key))
    server = start_server(fleet.workspace.root, *options)
    server.line("is loaded")
    assert server.url.startswith("https://127.0.0.1:")
    trusting = ssl.create_default_context(cafile=str(pair.certificate))
    with httpx.Client(base_url=server.url, verify=trusting, timeout=60) as client:
        answer = client.post("/v1/completions", json={"model": "alder", "prompt": "thing: boat", "max_tokens": 2})
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-prefixfleet-tenant"] == "alder"
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"{server.url}/healthz")
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"{server.url.replace('https', 'http')}/healthz")
    assert server.stop() == 0
