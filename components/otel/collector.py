"""The collector that spans and metrics are sent to: whether it answers, and the end of what is being sent.

A change is one line of the log. A collector that does not answer is waited for by threads of their own only, and at the
end of the process hardly at all. Knows HTTP sessions; does not know spans.
"""

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import requests

_END_S, _DOWN_END_S = 2.0, 0.2
"""How long the end of a process waits for what is being sent; the second, if the collector did not answer before."""
_POLL_S = 0.01
_NOISY_LOGGERS = ("opentelemetry.exporter.otlp", "opentelemetry.sdk._shared_internal")
"""They write several lines for each attempt that fails."""
_log = logging.getLogger("prefixfleet.otel")


class Collector:
    """What is known of the collector, and the threads that send to it."""

    def __init__(self) -> None:
        """Nothing is sent yet."""
        self.is_down = False
        """Whether it did not take what was sent to it last."""
        self._sending: list[_Sending] = []
        for name in _NOISY_LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        atexit.register(self.finish)

    def open_session(self) -> requests.Session:
        """Return a session whose answers are noted here."""
        return _NotedSession(self._note)

    def send(self, work: Callable[[], object]) -> None:
        """Send something in a thread; the end of the process waits for it a little."""
        self._add(work).begin()

    def send_at_end(self, work: Callable[[], object]) -> None:
        """Send something at the end of the process, which waits for it a little."""
        self._add(work)

    def _add(self, work: Callable[[], object]) -> "_Sending":
        # The thread starts now: at the end of a process Python 3.12 starts none.
        added = _Sending(work)
        self._sending = [*(one for one in self._sending if not one.is_done), added]
        return added

    def finish(self) -> None:
        """Wait a little for what is being sent; nothing is sent afterwards."""
        for one in self._sending:
            one.begin()
        was_down = self.is_down
        until_s = time.monotonic() + (_DOWN_END_S if was_down else _END_S)
        while any(not one.is_done for one in self._sending) and time.monotonic() < until_s:
            if self.is_down and not was_down:
                return
            time.sleep(_POLL_S)

    def _note(self, url: str, problem: str) -> None:
        was_down, self.is_down = self.is_down, bool(problem)
        if self.is_down and not was_down:
            message = "OpenTelemetry: %s did not take what was sent: %s; spans and metrics are dropped until it does"
            _log.warning(message, _without_login(url), problem)
        elif was_down and not self.is_down:
            _log.warning("OpenTelemetry: %s takes spans and metrics again", _without_login(url))


@lru_cache(1)
def get_collector() -> Collector:
    """Return this process's collector."""
    return Collector()


class _Sending:
    """A thread that waits for its beginning; in a process that was forked meanwhile there is none to wait for."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work, self._begun = work, threading.Event()
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._run, name="prefixfleet-otel", daemon=True)
        self._thread.start()

    @property
    def is_done(self) -> bool:
        return not self._thread.is_alive() or self._process != os.getpid()

    def begin(self) -> None:
        self._begun.set()

    def _run(self) -> None:
        self._begun.wait()
        self._work()


class _NotedSession(requests.Session):
    def __init__(self, note: Callable[[str, str], None]) -> None:
        super().__init__()
        self._note = note

    def request(self, method: str, url: str, **options: Any) -> requests.Response:  # type: ignore[override]
        try:
            response = super().request(method, url, **options)
        except requests.RequestException as problem:
            self._note(url, type(problem).__name__)
            raise
        self._note(url, "" if response.ok else f"status {response.status_code}")
        return response


def _without_login(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
