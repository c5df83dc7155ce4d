"""URLs of databases and servers: made absolute, turned into paths, and shown without passwords.

Knows URL syntax and one environment variable of MLflow's; does not know what is stored behind a URL.
"""

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

TRACKING_URI_VARIABLE = "MLFLOW_TRACKING_URI"
"""MLflow's environment variable with the URL of its server or database."""

_MAX_MESSAGE_LENGTH = 400


def read_tracking_uri(configured: str) -> str:
    """Return MLflow's URL: MLFLOW_TRACKING_URI if it is set, else the configured one."""
    return os.environ.get(TRACKING_URI_VARIABLE) or configured


def resolve_uri(uri: str, workspace: Path) -> str:
    """Return the URL, with a relative SQLite path made absolute from the workspace."""
    scheme, separator, path = uri.partition(":///")
    if separator and scheme.split("+")[0] == "sqlite" and path and path != ":memory:":
        return f"{scheme}:///{(workspace / path).resolve()}"
    return uri


def to_local_path(uri: str) -> Path | None:
    """Return the path of a `file` URL or of a plain absolute path; None for any other URL or text."""
    parts = urlsplit(uri)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(unquote(parts.path)) if parts.path else None
    return Path(uri) if uri.startswith("/") else None


def replace_root(uri: str, old: Path, new: Path) -> str:
    """Return a URL or path below the folder `old` as one below `new`; any other is returned unchanged."""
    path = to_local_path(uri)
    if path is None or not path.is_relative_to(old):
        return uri
    moved = new / path.relative_to(old)
    return moved.as_uri() if uri.startswith("file:") else str(moved)


def hide_password(text: str) -> str:
    """Return the text with the password of every URL in it (`//user:password@host`) replaced by `***`."""
    head, *rest = text.split("://")
    for part in rest:
        login, at, address = part.partition("@")
        has_password = at and ":" in login and "/" not in login and " " not in login
        head += "://" + (f"{login.split(':')[0]}:***@{address}" if has_password else part)
    return head


def format_first_line(error: BaseException) -> str:
    """Return the first line of an error's message, cut and without passwords; the error's type if it has no message."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return hide_password(lines[0][:_MAX_MESSAGE_LENGTH])
