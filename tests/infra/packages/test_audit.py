"""The audit of the lock, by the real pip-audit, with a database of this test on loopback."""

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from infra.packages.__main__ import main
from infra.packages.audit import Audit, NotAuditedError, require_complete

_WEAK = {
    "id": "GHSA-test-weak-0001",
    "affected": [
        {
            "package": {"ecosystem": "PyPI", "name": "weak", "purl": "pkg:pypi/weak"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.0"}]}],
        }
    ],
}


class _Database(BaseHTTPRequestHandler):
    """Knows one vulnerability, of the package `weak`."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))["package"]["name"]
        body = json.dumps({"vulns": [_WEAK]} if asked == "weak" else {}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def database() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Database)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1/query"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def closed_port() -> Iterator[str]:
    """An address at which nothing listens while the test runs."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/v1/query"


def audit(tmp_path: Path, lock: str, url: str) -> int:
    path = tmp_path / "requirements.lock"
    path.write_text(lock, encoding="utf-8")
    return main(["audit", "--lock", str(path), "--vulnerability-service", "osv", "--osv-url", url])


def test_a_vulnerability_is_found_and_its_absence_reported(database, tmp_path, capsys) -> None:
    assert audit(tmp_path, "sound==1.0\nweak==1.0\n", database) == 1
    shown = capsys.readouterr().out
    assert all(text in shown for text in ("weak", "GHSA-test-weak-0001", "2.0"))
    assert audit(tmp_path, "sound==1.0\n", database) == 0
    assert "packages audited: 1; no known vulnerability" in capsys.readouterr().out


def test_a_database_that_is_not_reached_is_never_taken_for_a_clean_result(closed_port, tmp_path, capsys) -> None:
    assert audit(tmp_path, "sound==1.0\n", closed_port) == 3
    assert "wanted: an answer of the database of vulnerabilities" in capsys.readouterr().err


@pytest.mark.parametrize("lock", ["", "no requirement\n"])
def test_a_lock_that_is_none_is_refused_before_anything_is_asked(lock, closed_port, tmp_path, capsys) -> None:
    assert audit(tmp_path, lock, closed_port) == 2
    assert main(["audit", "--lock", str(tmp_path / "none")]) == 2
    assert "fix:    name requirements.lock" in capsys.readouterr().err


def test_packages_that_the_database_does_not_know_are_not_audited() -> None:
    skipped = {f"p{number}": "not found" for number in range(7)}
    with pytest.raises(NotAuditedError, match=r"none for 7 of 9: p0, p1, p2, p3, p4 and 2 more \(not found\)"):
        require_complete(Audit(9, [], skipped))
