"""Where artifacts lie: a folder, or object storage through fsspec. Reads only below the folders of the settings.

Knows addresses and bytes; does not know what the files hold. Safe to use from many threads.
"""

import posixpath
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from prefixfleet_vllm.errors import PluginError

_CONNECT_TIMEOUT_S = 5
_ANSWER_TIMEOUT_S = 20
_SCHEMES = ("file", "s3", "gs")
_STORE_FIX = "check the store and this machine's access to it, then retry"


class ArtifactStore:
    """Folders that hold artifacts, one subfolder for each."""

    def __init__(self, folders: Sequence[str]) -> None:
        """Open no connection.

        Raises:
            PluginError: an address is none of a folder.
        """
        self._folders = [_parse_address(folder, "setup") for folder in folders]
        self._file_systems: dict[str, Any] = {}

    def find_folder(self, sha256: str, address: str) -> str:
        """Return the URL of an artifact's folder: `address`, or the default one.

        Raises:
            PluginError: the address is not below one of the folders.
        """
        if not address:
            return f"{self._folders[0]}/{sha256}"
        parsed = _parse_address(address, "request")
        if not any(parsed.startswith(f"{folder}/") for folder in self._folders):
            wanted = f"an address below {' or '.join(self._folders)}"
            raise PluginError("request", wanted, address, "add its folder to the setting `stores`")
        return parsed

    def read_file(self, folder: str, name: str, limit: int) -> bytes:
        """Return the content of a file.

        Raises:
            PluginError: it is missing or has more than `limit` bytes (kind artifact), or the store does not answer.
        """
        url = f"{folder}/{name}"
        scheme, _, path = url.partition("://")
        try:
            content: bytes = self._get_file_system(scheme).cat_file(path, start=0, end=limit + 1)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            fix = "register the tenant again, or correct the address"
            raise PluginError("artifact", f"an artifact with {name}", f"none in {folder}", fix) from None
        except Exception as problem:
            got = f"{type(problem).__name__}: {problem}"
            raise PluginError("store", f"to read {url}", got, _STORE_FIX) from problem
        if len(content) > limit:
            raise PluginError("artifact", f"a file of at most {limit} bytes", f"more in {url}", "register it again")
        return content

    def _get_file_system(self, scheme: str) -> Any:
        if scheme not in self._file_systems:
            import fsspec

            options: dict[str, Any] = {}
            if scheme == "s3":
                timeouts = {"connect_timeout": _CONNECT_TIMEOUT_S, "read_timeout": _ANSWER_TIMEOUT_S}
                options = {"config_kwargs": timeouts, "use_listings_cache": False}
            self._file_systems[scheme] = fsspec.filesystem(scheme, skip_instance_cache=True, **options)
        return self._file_systems[scheme]


def _parse_address(address: str, kind: Any) -> str:
    """Return an address as a URL without a slash at its end."""
    url = f"file://{address}" if address.startswith("/") else address
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    is_absolute = bool(path.startswith("/") if parts.scheme == "file" else parts.netloc and "@" not in parts.netloc)
    is_plain = not parts.query and not parts.fragment and posixpath.normpath(path or "/") == (path or "/")
    if parts.scheme not in _SCHEMES or not is_absolute or not is_plain or (parts.scheme == "file" and parts.netloc):
        wanted = "the address of a folder: /path, file:///path, s3://bucket/folder or gs://bucket/folder"
        shown = f"{parts.scheme}://***" if "@" in parts.netloc else address
        raise PluginError(kind, wanted, shown, "correct it; credentials come from the environment (AWS_*)")
    return f"{parts.scheme}://{parts.netloc}{path}"
