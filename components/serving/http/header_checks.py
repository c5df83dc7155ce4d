"""Check a request's header before anything else: the framing of its body, its Host, and the page that it comes from.

Knows HTTP's fields; does not know the service.
"""

from collections.abc import MutableMapping
from typing import Any
from urllib.parse import urlsplit

from components.access.addresses import is_loopback_host
from components.serving.errors import RefusalError

Scope = MutableMapping[str, Any]

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_OPEN_SERVER_FIX = "create a key (`prefixfleet keys create`)"


def find_header(scope: Scope, name: bytes) -> str:
    """Return the value of the first header of this name (in lower case), or ""."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


def check_framing(scope: Scope) -> None:
    """Refuse a body whose end a proxy and this server could see at different places (RFC 9112, section 6.1).

    Raises:
        RefusalError: 400, content-length beside transfer-encoding, or transfer-encoding in HTTP/1.0.
    """
    if not find_header(scope, b"transfer-encoding"):
        return
    fix = "send only one of content-length and transfer-encoding"
    if find_header(scope, b"content-length"):
        raise RefusalError(400, "one length of the body", "content-length and transfer-encoding", fix)
    if scope.get("http_version") == "1.0":
        raise RefusalError(400, "a body with content-length in HTTP/1.0", "transfer-encoding", fix)


def check_is_local(scope: Scope) -> None:
    """Refuse what a web page can send to a server without keys: by DNS rebinding, or across sites.

    Raises:
        RefusalError: 403, another Host than localhost, or a method that changes state from another site's page.
    """
    host = find_header(scope, b"host")
    if not is_loopback_host(host):
        fix = f"use localhost, or {_OPEN_SERVER_FIX}"
        raise RefusalError(403, "the host localhost (the server has no API keys)", repr(host[:100]), fix)
    if scope["method"] in _SAFE_METHODS:
        return
    site, origin = find_header(scope, b"sec-fetch-site"), find_header(scope, b"origin")
    is_own_page = not origin or urlsplit(origin.lower()).netloc == host.lower()
    if site.lower() not in ("", "none", "same-origin") or not is_own_page:
        wanted = "a request that no other site's page sends (the server has no API keys)"
        raise RefusalError(403, wanted, f"origin {origin[:100]!r}, sec-fetch-site {site[:100]!r}", _OPEN_SERVER_FIX)
