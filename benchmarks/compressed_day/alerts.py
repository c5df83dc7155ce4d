"""The alerts that fired in a real Prometheus with the project's rules, and the metrics of flows for it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from compressed_day.watch import Watch

_PAUSE_S = 5.0


class AlertWatch(Watch):
    """Asks a Prometheus for the alerts that fire."""

    def __init__(self, prometheus: Any) -> None:
        super().__init__(self._ask, _PAUSE_S)
        self._prometheus = prometheus
        self.fired: dict[str, str] = {}
        """Alert -> severity."""

    def _ask(self) -> None:
        for alert in self._prometheus.get("/alerts")["alerts"]:
            if alert["state"] == "firing":
                self.fired[alert["labels"]["alertname"]] = alert["labels"]["severity"]


class _QuietServer(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing if Prometheus has hung up, as it does after its deadline."""


@contextmanager
def serve_textfile(file: Path) -> Iterator[str]:
    """Serve a file with metrics as node_exporter's textfile collector does; yield HOST:PORT."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = file.read_bytes() if file.exists() else b""
            self.send_response(200)
            self.send_header("content-type", "text/plain; version=0.0.4")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    server = _QuietServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
