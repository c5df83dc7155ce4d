"""Logins: an opaque session id in a cookie stands for an API key, which stays on the server's side.

A session ends with its key, or after its hours. Sessions are in memory: a restart ends all. Knows keys; does not know
HTTP.
"""

import hashlib
import hmac
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass

from components.access.api_keys import ApiKey, ApiKeys, Role, parse_key

_MAX_SESSIONS = 10_000


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who looks at the console."""

    tenant: str | None
    """The only tenant that may be seen; None: all."""
    role: Role | None = None
    """None: nobody logged in."""
    name: str = ""
    """The name for the ledger: the key's note or id; "": nobody logged in."""

    @property
    def may_change(self) -> bool:
        """Return whether the visitor may change something."""
        return self.role in ("operator", "admin")

    @property
    def may_ask(self) -> bool:
        """Return whether the visitor may let versions answer, which takes time and quotas."""
        return self.role != "viewer"

    def may_see(self, tenant: str) -> bool:
        """Return whether the tenant may be shown."""
        return self.tenant in (None, tenant)


class Sessions:
    """The logins of one console; safe to use from many threads."""

    def __init__(self, keys: ApiKeys, timer: Callable[[], float], hours: float) -> None:
        """`timer` gives monotonic seconds."""
        self._keys, self._timer, self._lifetime_s = keys, timer, 3600 * hours
        self._secret = secrets.token_bytes(32)
        self._sessions: dict[str, tuple[str, float]] = {}
        """Session id -> id of its key, and when it ends, by the timer."""
        self._lock = threading.Lock()
        self._has_keys = False

    def make_id(self) -> str:
        """Return a new id, of no login yet."""
        return secrets.token_urlsafe(32)

    def log_in(self, key_text: str) -> str | None:
        """Return the id of a new session; None: an unknown, expired or revoked key. Raises WorkspaceError."""
        if self._keys.verify(key_text) is None:
            return None
        session_id, now_s = self.make_id(), self._timer()
        with self._lock:
            self._sessions = {one: value for one, value in self._sessions.items() if value[1] > now_s}
            while len(self._sessions) >= _MAX_SESSIONS:
                del self._sessions[next(iter(self._sessions))]
            self._sessions[session_id] = parse_key(key_text)[0], now_s + self._lifetime_s
        return session_id

    def log_out(self, session_id: str) -> None:
        """End a session; nothing if there is none."""
        with self._lock:
            self._sessions.pop(session_id, None)

    def find_visitor(self, session_id: str) -> Visitor | None:
        """Return who has this session; None: nobody, or its key is no longer valid. Raises WorkspaceError."""
        key_id, end_s = self._sessions.get(session_id, ("", 0.0))
        key = self._keys.find_valid(key_id) if key_id and self._timer() < end_s else None
        if key is None:
            self.log_out(session_id)
            return None
        return Visitor(key.tenant, key.role, _name_holder(key))

    def needs_login(self) -> bool:
        """Return whether a key was ever created; before that, anyone on this machine may read.

        Raises WorkspaceError.
        """
        self._has_keys = self._has_keys or self._keys.has_any()
        return self._has_keys

    def make_form_token(self, session_id: str) -> str:
        """Return the token that forms of this session carry."""
        return hmac.new(self._secret, session_id.encode(), hashlib.sha256).hexdigest()

    def is_form_token(self, session_id: str, token: str) -> bool:
        """Return whether a form's token is that of the session."""
        return bool(session_id) and hmac.compare_digest(self.make_form_token(session_id), token)


def _name_holder(key: ApiKey) -> str:
    return f"{key.note} (key {key.id})" if key.note else f"key {key.id}"
