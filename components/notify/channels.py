"""Sends a message to people by Apprise: mail, chat, and whatever else it knows. Its URLs are never shown."""

import contextlib
import io
import logging
import re
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import unquote

from components.errors import ConfigError

if TYPE_CHECKING:
    from apprise import Apprise

_FIX = "correct it there; https://appriseit.com/services/ lists the form for each service"
_MIN_HIDDEN = 3
"""Characters of a part of a URL from which it is hidden in messages."""
_MAX_PROBLEM = 300
_LOG_LOCK = threading.Lock()
_PLAIN_WORDS = {"http", "https", "localhost", "json", "jsons", "mailto", "mailtos"}


def open_channel(urls: str, where: str) -> "Apprise":
    """Return the services of one or more URLs, separated by spaces or lines. Raises ConfigError."""
    from apprise import Apprise

    parts, opened = urls.split(), Apprise()
    with _capture_log():
        bad = [number for number, part in enumerate(parts, 1) if not opened.add(part)]
    if bad:
        which = f"number {bad[0]} of {len(parts)}" if len(parts) > 1 else "another text"
        scheme = parts[bad[0] - 1].partition("://")
        kind = f", which begins with {scheme[0][:20]!r}" if scheme[1] and scheme[0].isalnum() else ""
        raise ConfigError(f"URLs of Apprise in {where}", f"{which}{kind}; it is not shown, as it may be secret", _FIX)
    return opened


def send_message(urls: str, where: str, title: str, body: str) -> str:
    """Send a message; return why a service did not take it; "": all did.

    If one of several services fails, the message will be sent to all of them again. Raises ConfigError.
    """
    from apprise import NotifyFormat

    opened = open_channel(urls, where)
    with _capture_log() as log:
        try:
            is_sent = opened.notify(title=title, body=body, body_format=NotifyFormat.TEXT)
        except Exception as problem:  # noqa: BLE001 - of any of its services; a message must not end a night
            return type(problem).__name__
    if is_sent:
        return ""
    lines = [line.strip() for line in log.getvalue().splitlines() if line.strip()]
    return _hide_parts(lines[-1] if lines else "the service did not take it", urls)[:_MAX_PROBLEM]


def _hide_parts(text: str, urls: str) -> str:
    """Return a text without the parts of URLs, which may be passwords or tokens."""
    parts = {part for url in urls.split() for part in re.split(r"[:/@?&=#,]+", url)}
    parts |= {unquote(part) for part in parts}
    for part in sorted(parts - _PLAIN_WORDS, key=len, reverse=True):
        if len(part) >= _MIN_HIDDEN:
            text = text.replace(part, "...")
    return text


@contextlib.contextmanager
def _capture_log() -> Iterator[io.StringIO]:
    """Keep Apprise's warnings for the caller; no other log has them or the requests, which have parts of the URLs.

    One block at a time in a process: all threads share the logs, so another channel's warnings would be among these.
    """
    logger, requests, stream = logging.getLogger("apprise"), logging.getLogger("urllib3"), io.StringIO()
    handler = logging.StreamHandler(stream)
    with _LOG_LOCK:
        before = logger.propagate, logger.level, requests.level
        logger.addHandler(handler)
        logger.propagate = False
        logger.setLevel(logging.WARNING)
        requests.setLevel(logging.CRITICAL)
        try:
            yield stream
        finally:
            logger.removeHandler(handler)
            logger.propagate = before[0]
            logger.setLevel(before[1])
            requests.setLevel(before[2])
