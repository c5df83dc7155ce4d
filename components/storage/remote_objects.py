"""Objects in S3 or Google Cloud Storage through fsspec. Raises what fsspec's file systems raise.

A client belongs to the process that made it, so a forked process makes its own. Nothing is cached.
"""

import os
import socket
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec
from fsspec.callbacks import Callback

from components.storage.object_names import StoredObject

_CONNECT_TIMEOUT_S = 5
_ANSWER_TIMEOUT_S = 20.0
"""For an answer to begin or go on, and for sent bytes to be taken."""
_PART_BYTES = 16 * 2**20
"""Of a large file; one at a time is in memory."""
_TRIES = 4
"""Of one request within about a second; a store that is away for longer is the caller's."""


class RemoteObjects:
    """Objects below one folder of a bucket."""

    def __init__(self, scheme: str, folder: str) -> None:
        """Open no connection."""
        self._scheme, self._folder = scheme, folder
        self._clients: dict[int, Any] = {}

    def put_bytes(self, key: str, content: bytes) -> None:
        """Write an object."""
        self._client.pipe_file(self._path(key), content)

    def put_file(self, path: Path, key: str, progress: Callable[[int], None]) -> None:
        """Write an object from a file, in parts if it is large."""
        self._client.put_file(str(path), self._path(key), callback=_watch(progress), chunksize=_PART_BYTES)

    def get_bytes(self, key: str) -> bytes:
        """Read an object."""
        content: bytes = self._client.cat_file(self._path(key))
        return content

    def get_file(self, key: str, path: Path, progress: Callable[[int], None]) -> None:
        """Copy an object to a file."""
        self._client.get_file(self._path(key), str(path), callback=_watch(progress))

    def list_objects(self, start: str) -> dict[str, StoredObject]:
        """Return key -> time of writing and size of the objects whose keys begin with `start`."""
        root = f"{self._folder}/"
        found = self._client.find(self._folder, prefix=start, detail=True)
        return {
            name.removeprefix(root): StoredObject(_read_time(facts), int(facts["size"]))
            for name, facts in found.items()
            if name.startswith(root + start) and facts["type"] == "file"
        }

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects. A refusal is raised for the first one; the store's bulk deletion reports none."""
        paths = [self._path(key) for key in keys]
        if paths:
            self._client.rm_file(paths[0])
        if paths[1:]:
            self._client.rm(paths[1:])

    def delete_leftovers(self, before: datetime) -> None:
        """Do nothing: a rule of the bucket removes unfinished uploads."""

    @property
    def _client(self) -> Any:
        process = os.getpid()
        if process not in self._clients:
            options = _make_s3_options() if self._scheme == "s3" else {}
            client: Any = fsspec.filesystem(self._scheme, skip_instance_cache=True, use_listings_cache=False, **options)
            client.retries = _TRIES
            self._clients[process] = client
        return self._clients[process]

    def _path(self, key: str) -> str:
        return f"{self._folder}/{key}"


def _make_s3_options() -> dict[str, Any]:
    config = {
        "connect_timeout": _CONNECT_TIMEOUT_S,
        "read_timeout": _ANSWER_TIMEOUT_S,
        "retries": {"total_max_attempts": 1},
        # Not every S3 server knows the newer checksums; sets of files carry digests of their own.
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
        "connector_args": {"socket_factory": _make_socket},
    }
    return {"max_concurrency": 1, "config_kwargs": config}


def _make_socket(address: tuple[Any, ...]) -> socket.socket:
    """Return a socket that fails if the server does not take what is sent: the client has no limit for that."""
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * _ANSWER_TIMEOUT_S))
    return made


def _watch(progress: Callable[[int], None]) -> Callback:
    return Callback(hooks={"progress": lambda _, done_bytes, **__: progress(done_bytes)})


def _read_time(facts: dict[str, Any]) -> datetime:
    """Return the time of writing in a listing's facts: a datetime of S3, or text of Google's."""
    value = facts.get("LastModified") or facts.get("mtime") or facts["updated"]
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return moment.astimezone(UTC)
