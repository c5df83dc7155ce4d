"""Which URLs and keys name objects: checked before any is used, since a key from a listing is untrusted input.

Pure; knows no store.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from components.errors import WorkersError
from components.storage.urls import hide_password, to_local_path

MAX_KEY_LENGTH = 800
"""S3 allows 1,024 bytes; the rest is for the folder in the URL."""

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]", re.ASCII)
_FOLDER_PART = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._=+,~-]{1,200}", re.ASCII)
_KEY_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}", re.ASCII)
_URL_FIX = "write workers.exchange in params.yaml as s3://bucket/folder, gs://bucket/folder or file:///folder"


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What a store says of an object."""

    written: datetime
    """By the store's clock."""
    size_bytes: int


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """A checked URL of a folder in object storage."""

    url: str
    """Without a slash at its end."""
    scheme: str
    folder: str
    """`bucket/folder`, or the absolute path of a `file` URL."""


def parse_store_url(url: str) -> StoreAddress:
    """Return the address in a URL.

    Raises:
        WorkersError: another scheme, no bucket, a relative path, credentials or odd characters in it.
    """
    wanted, shown = "the URL of a folder in object storage", hide_password(url)
    parts = urlsplit(url)
    if "@" in parts.netloc:
        fix = "remove them from the URL; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY on each machine"
        raise WorkersError(wanted, f"credentials in {parts.scheme}://***@...", fix)
    if parts.scheme == "file":
        path = to_local_path(url)
        if path is None or not path.is_absolute() or path == Path("/") or ".." in path.parts or re.search("[?#]", url):
            raise WorkersError(wanted, shown, _URL_FIX)
        return StoreAddress(url.rstrip("/"), "file", str(path))
    folders = parts.path.strip("/").split("/") if parts.path.strip("/") else []
    is_valid = (
        parts.scheme in ("s3", "gs")
        and _BUCKET.fullmatch(parts.netloc)
        and all(_FOLDER_PART.fullmatch(each) for each in folders)
        and not (parts.query or parts.fragment or re.search("[?#]", url))
    )
    if not is_valid:
        raise WorkersError(wanted, shown, _URL_FIX)
    folder = "/".join([parts.netloc, *folders])
    return StoreAddress(f"{parts.scheme}://{folder}", parts.scheme, folder)


def is_key(text: str) -> bool:
    """Return whether a text is a key: names of letters, digits, `.`, `_` and `-`, not dot first, joined by `/`."""
    return len(text) <= MAX_KEY_LENGTH and all(_KEY_PART.fullmatch(part) for part in text.split("/"))


def check_key(key: str) -> str:
    """Return the key.

    Raises:
        WorkersError: it is not a key.
    """
    if not is_key(key):
        wanted = "a key of an object: names of letters, digits, '.', '_' and '-', joined by '/', none begins with a dot"
        raise WorkersError(wanted, repr(key[:200]), "correct the name, or delete the object that has it")
    return key
