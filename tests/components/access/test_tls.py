"""Files of a certificate and its key, and those with which HTTPS cannot work."""

import time

import pytest
from certificates import CertificatePair
from cryptography.hazmat.primitives import serialization

from components.access.tls import check_tls, read_certificate_end
from components.config.serve import ServeConfig
from components.errors import ConfigError


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


def test_the_end_of_a_chain_is_that_of_the_certificate_that_ends_first(pair, tmp_path):
    assert read_certificate_end(ServeConfig()) is None
    end_s = read_certificate_end(ServeConfig(tls_certificate=str(pair.certificate)))
    assert abs(end_s - time.time() - 86_400) < 3600
    later = CertificatePair(tmp_path, "later", days=30)
    chain = tmp_path / "chain.pem"
    chain.write_bytes(later.certificate.read_bytes() + pair.certificate.read_bytes())
    assert read_certificate_end(ServeConfig(tls_certificate=str(chain))) == end_s
    (tmp_path / "text.pem").write_text("nothing")
    with pytest.raises(ConfigError, match="PEM certificate"):
        read_certificate_end(ServeConfig(tls_certificate=str(tmp_path / "text.pem")))
