"""The TLS certificate and key: checked before the server listens; and the end of the certificate's validity.

Knows files; does not know the server.
"""

import ssl
from pathlib import Path

from components.config.serve import ListenConfig
from components.errors import ConfigError

_ENCRYPTED_MARKER = b"ENCRYPTED"
"""In the first lines of every PEM key that has a passphrase."""


def check_tls(config: ListenConfig) -> None:
    """Check that the files can be served with; no files at all means plain HTTP.

    Raises:
        ConfigError: a key without a certificate, a missing, encrypted or non-PEM file, or a key that does not match.
    """
    certificate, key = config.tls_certificate, config.tls_key
    if certificate is None:
        if key is not None:
            raise ConfigError("a certificate for the TLS key", "none", "set serve.tls_certificate (--tls-certificate)")
        return
    for name, path in (("certificate", certificate), ("key", key)):
        if path is not None and _ENCRYPTED_MARKER in _read(name, Path(path)):
            fix = f"remove the passphrase: openssl pkey -in {path} -out plain.pem"
            raise ConfigError("a TLS key without a passphrase", f"{path}, which has one", fix)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as problem:
        got = f"{certificate} and {key or 'no key'}: {_describe_error(problem)}"
        raise ConfigError("a PEM certificate and its PEM key", got, "correct the files") from None


def read_certificate_end(config: ListenConfig) -> float | None:
    """Return when the certificate stops being valid, in seconds since 1970; None: plain HTTP.

    Of a chain the certificate that ends first counts.

    Raises:
        ConfigError: the file cannot be read or has no certificate.
    """
    if config.tls_certificate is None:
        return None
    from cryptography import x509

    path = Path(config.tls_certificate)
    try:
        chain = x509.load_pem_x509_certificates(_read("certificate", path))
    except ValueError as problem:
        raise ConfigError("a PEM certificate", f"{path}: {problem}", "correct the file") from None
    return min(one.not_valid_after_utc.timestamp() for one in chain)


def _read(name: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as problem:
        fix = f"correct serve.tls_{name} (--tls-{name})"
        raise ConfigError(f"a PEM file with the {name}", f"{path}: {problem.strerror or problem}", fix) from None


def _describe_error(problem: OSError) -> str:
    reason = getattr(problem, "reason", None)
    if reason == "KEY_VALUES_MISMATCH":
        return "the key belongs to another certificate"
    return str(problem) if reason else "a file is not PEM, or the key is missing"
