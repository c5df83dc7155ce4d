"""Clients that try to stop a server: large bodies and files, silent connections, floods, costly schemas, no reading.

    python -m harness.attacks NAME URL TENANT SOURCE

prints a line and runs one attack until the process is ended; with `work SHARE` it only uses such a share of a core.
Knows the server's API; does not know its parts. Imports little, so that the process is at work soon.
"""

import asyncio
import itertools
import json
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

BEAMS = 5
_TOKENS = 24
_PAUSE_S = 0.02
_CALLERS = 20
_SILENT_CONNECTIONS = 300
_UNREAD_S = 60.0
_PERIOD_S = 0.01
"""Of which `work` uses its share."""


@dataclass(frozen=True)
class Target:
    """A server, the attacker's tenant, and a source."""

    url: str
    attacker: str
    source: str


async def send_large_bodies(target: Target) -> None:
    """Bodies of 1 MB of small values, of nested lists, and of unknown keys."""
    start = f'{{"model": "{target.attacker}", '.encode()
    bodies = (
        start + b'"input": {"a": [' + b"{}," * 320_000 + b"{}]}}",
        start + b'"prompt": [' + b"1," * 480_000 + b"1]}",
        start + b'"prompt": ' + b"[" * 950 + b"]" * 950 + b"}",
        start + b",".join(b'"%d": 1' % number for number in range(80_000)) + b"}",
        start + b'"input": {"a": [' + b"{}," * 3_000 + b"{}]}}",
        start + b'"prompt": "' + b"x" * 900_000 + b'"}',
    )
    chats = (
        start + b'"messages": [' + b'{"role": "user", "content": "a"},' * 25_000 + b"{}]}",
        start + b'"messages": [{"role": "user", "content": "' + b"x" * 900_000 + b'"}]}',
        start + b'"messages": [], "tools": ' + b"[" * 950 + b"]" * 950 + b"}",
    )
    await asyncio.gather(
        *(_post_forever(target, "/v1/completions", itertools.repeat(body)) for body in bodies),
        *(_post_forever(target, "/v1/chat/completions", itertools.repeat(body)) for body in chats),
    )


async def flood_with_rows(target: Target) -> None:
    """20 callers of 64 rows each: more than the queue has places for."""
    sources = ", ".join(f'"{target.source}"' for _ in range(64))
    body = f'{{"model": "{target.attacker}", "prompt": [{sources}], "max_tokens": {_TOKENS}}}'.encode()
    await asyncio.gather(*(_post_forever(target, "/v1/completions", itertools.repeat(body)) for _ in range(_CALLERS)))


async def ask_for_beams(target: Target) -> None:
    """20 callers of many rows with as many beams as the attacker's versions may have."""
    body = {"model": target.attacker, "prompt": [target.source] * 12, "num_beams": BEAMS, "max_tokens": _TOKENS}
    content = json.dumps(body).encode()
    await asyncio.gather(
        *(_post_forever(target, "/v1/completions", itertools.repeat(content)) for _ in range(_CALLERS))
    )


async def send_schemas(target: Target) -> None:
    """Chats with a new schema each, which would take minutes and gigabytes to compile."""

    def make_bodies() -> Iterator[bytes]:
        for number in itertools.count():
            patterns = [{"type": "string", "pattern": f".*a{part}b{number}.*"} for part in range(30)]
            schema = {"allOf": patterns} if number % 2 else {"type": "integer", "multipleOf": 1_000_003 + 2 * number}
            form = {"type": "json_schema", "json_schema": {"name": "costly", "schema": schema}}
            messages = [{"role": "user", "content": target.source}]
            yield json.dumps({"model": target.attacker, "messages": messages, "response_format": form}).encode()

    bodies = make_bodies()
    await asyncio.gather(*(_post_forever(target, "/v1/chat/completions", bodies) for _ in range(_CALLERS)))


async def upload_files(target: Target) -> None:
    """Files of many valid lines before an invalid one, of one long line, of nested lists, and of many parts."""
    head = b'--x\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
    head += b'--x\r\ncontent-disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
    contents = (
        b'{"prompt": "a", "completion": "b"}\n' * 500_000 + b"{}\n",
        b'{"prompt": "' + b"x" * 18_000_000 + b'"}\n',
        b'{"prompt": "a", "completion": ' + b"[" * 900_000 + b"]" * 900_000 + b"}\n",
        b'--x\r\ncontent-disposition: form-data; name="a"\r\n\r\nb\r\n' * 100_000,
    )
    kind = "multipart/form-data; boundary=x"
    bodies = (head + content + b"\r\n--x--\r\n" for content in contents)
    await asyncio.gather(*(_post_forever(target, "/v1/files", itertools.repeat(body), kind) for body in bodies))


async def flood_with_feedback(target: Target) -> None:
    """20 callers of corrections of the same answer, of the longest allowed text and of far too long ones."""
    async with httpx.AsyncClient(base_url=target.url, timeout=120) as client:
        body = {"model": target.attacker, "prompt": target.source, "max_tokens": 1}
        answer = (await client.post("/v1/completions", json=body)).json()["id"]
    texts = (f"{number} {'y' * (900_000 if number % 4 == 0 else 3_900)}" for number in itertools.count())
    bodies = (json.dumps({"id": answer, "text": text}).encode() for text in texts)
    await asyncio.gather(*(_post_forever(target, "/v1/feedback", bodies) for _ in range(_CALLERS)))


async def hold_silent_connections(target: Target) -> None:
    """Connections that send nothing, half a header, or half a body, and are opened again once they are closed."""
    header = b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99\r\n"
    starts = (b"", header, header + b"\r\n{")
    await asyncio.gather(*(_hold_forever(target, starts[number % 3]) for number in range(_SILENT_CONNECTIONS)))


async def stream_without_reading(target: Target) -> None:
    """Long streams with log probabilities that nobody reads."""
    prompts = ", ".join(f'"{target.source}"' for _ in range(16))
    body = f'{{"model": "{target.attacker}", "prompt": [{prompts}], "max_tokens": 200, "logprobs": 5, "stream": true}}'
    header = "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    request = f"{header}content-length: {len(body)}\r\n\r\n{body}".encode()
    await asyncio.gather(*(_hold_forever(target, request, reads=False) for _ in range(4)))


async def send_garbage(target: Target) -> None:
    """What is not HTTP, bodies in chunks of one byte, and headers of many fields."""
    chunked = b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n"
    parts = (
        b"\x16\x03\x01" * 1000 + b"\r\n\r\n",
        chunked + b"\r\n" + b"1\r\nx\r\n" * 20_000,
        chunked + b"content-length: 5\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\n" + b"x: y\r\n" * 50_000 + b"\r\n",
    )
    await asyncio.gather(*(_hold_forever(target, part) for part in parts))


ATTACKS: dict[str, Callable[[Target], Coroutine[Any, Any, None]]] = {
    "large bodies": send_large_bodies,
    "floods of rows": flood_with_rows,
    "beams": ask_for_beams,
    "schemas": send_schemas,
    "files": upload_files,
    "feedback": flood_with_feedback,
    "silent connections": hold_silent_connections,
    "unread streams": stream_without_reading,
    "garbage": send_garbage,
}


async def _post_forever(
    target: Target, path: str, bodies: Iterator[bytes], content_type: str = "application/json"
) -> None:
    async with httpx.AsyncClient(base_url=target.url, timeout=120) as client:
        for body in bodies:
            with suppress(httpx.HTTPError):
                await client.post(path, content=body, headers={"content-type": content_type})


async def _hold_forever(target: Target, content: bytes, *, reads: bool = True) -> None:
    """Send `content`, wait for the end of the connection, and begin again; or, unless `reads`, read nothing."""
    address = urlsplit(target.url)
    while True:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            try:
                if not reads:
                    writer.transport.pause_reading()  # type: ignore[attr-defined]
                writer.write(content)
                await (reader.read() if reads else asyncio.sleep(_UNREAD_S))
            finally:
                writer.close()
        await asyncio.sleep(_PAUSE_S)


def work(share: float) -> None:
    """Use this share of a core until the process is ended."""
    while True:
        started_s, used_s = time.monotonic(), time.process_time()
        while time.process_time() - used_s < share * _PERIOD_S:
            pass
        time.sleep(max(_PERIOD_S - (time.monotonic() - started_s), 0))


def main(name: str, *arguments: str) -> None:
    """Run the attack of this name, or `work`."""
    print("at work", flush=True)
    if name == "work":
        work(float(arguments[0]))
    else:
        asyncio.run(ATTACKS[name](Target(*arguments)))


if __name__ == "__main__":
    main(*sys.argv[1:])
