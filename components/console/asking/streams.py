"""Streams a server's answer as server-sent events for the page, with its headers and times. Knows HTTP; knows no page.

Events: `request` (curl, python), `head` (headers, milliseconds until then), `chunk` (of the server, unchanged), `end`
(milliseconds), `problem` (a sentence).
"""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

from components.console.asking.requests import ServerRequest, write_curl, write_python
from components.console.refusals import describe_silence

_SILENCE_SECONDS = 120.0
_MAX_ERROR_BYTES = 20_000
_SHOWN_HEADERS = ("x-prefixfleet-", "x-request-id")
_DONE = b"[DONE]"


def stream_answer(
    server: str, key: str, request: ServerRequest, timer: Callable[[], float] = time.monotonic
) -> Iterator[str]:
    """Yield the events of one answer; `server` is the URL of `prefixfleet serve`, `key` "" without keys.

    A failure is an event too: the stream never raises for what the server or the network does.
    """
    yield _write("request", {"curl": write_curl(server, request), "python": write_python(server, request)})
    start_s = timer()

    def measure_ms() -> float:
        return round(1000 * (timer() - start_s), 1)

    headers = {"content-type": "application/json", **({"authorization": f"Bearer {key}"} if key else {})}
    call = urllib.request.Request(server + request.path, json.dumps(request.body).encode(), headers)  # noqa: S310
    try:
        with urllib.request.urlopen(call, timeout=_SILENCE_SECONDS) as answer:  # noqa: S310 - http, by the settings
            shown = {name: text for name, text in answer.headers.items() if name.lower().startswith(_SHOWN_HEADERS)}
            yield _write("head", {"headers": shown, "ms": measure_ms()})
            for line in answer:
                data = line.strip().removeprefix(b"data:").strip()
                if line.startswith(b"data:") and data != _DONE:
                    yield f"event: chunk\ndata: {data.decode()}\n\n"
        yield _write("end", {"ms": measure_ms()})
    except urllib.error.HTTPError as problem:
        yield _write("problem", f"The server refused (status {problem.code}): {_read_message(problem)}")
    except (OSError, ValueError) as problem:
        fix = "start it with `prefixfleet serve`, or correct console.server"
        yield _write("problem", f"No answer from the server at {server}: {describe_silence(problem)}; {fix}.")


def _write(event: str, value: Any) -> str:
    return f"event: {event}\ndata: {json.dumps(value, ensure_ascii=False)}\n\n"


def _read_message(problem: urllib.error.HTTPError) -> str:
    text = problem.read(_MAX_ERROR_BYTES).decode(errors="replace")
    try:
        return str(json.loads(text)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return text[:500] or problem.reason
