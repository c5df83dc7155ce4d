"""Whether a certificate and its key can be served with, before anything is bound. Knows files; no server."""

import ssl
from pathlib import Path

from components.config.serve import ServeConfig
from components.errors import ConfigError

_ENCRYPTED_MARKER = b"ENCRYPTED"
"""Stands in the first lines of every PEM key with a passphrase."""


def check_tls(config: ServeConfig) -> None:
    """Refuse files that no connection could be made with; none at all are no error.

    Raises:
        ConfigError: a key without a certificate, a file that is missing, no PEM or encrypted, or one of another pair.
    """
    certificate, key = config.tls_certificate, config.tls_key
    if certificate is None:
        if key is not None:
            raise ConfigError("a certificate beside the key", "none", "give serve.tls_certificate (--tls-certificate)")
        return
    for name, path in (("certificate", certificate), ("key", key)):
        if path is not None and _ENCRYPTED_MARKER in _read(name, Path(path)):
            fix = f"write it without: openssl pkey -in {path} -out plain.pem"
            raise ConfigError("a key that a server can read by itself", f"{path}, which wants a passphrase", fix)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as problem:
        got = f"{certificate} and {key or 'no key'}: {_describe_error(problem)}"
        raise ConfigError("a certificate and its key in PEM", got, "correct the files") from None


def _read(name: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as problem:
        fix = f"correct serve.tls_{name} (--tls-{name})"
        raise ConfigError(f"a file with the {name} in PEM", f"{path}: {problem.strerror or problem}", fix) from None


def _describe_error(problem: OSError) -> str:
    reason = getattr(problem, "reason", None)
    if reason == "KEY_VALUES_MISMATCH":
        return "the key is another certificate's"
    return str(problem) if reason else "one of them is no PEM file, or the key is missing"
