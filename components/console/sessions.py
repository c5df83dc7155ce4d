"""Logins: an opaque session id in a cookie stands for an API key, or for a person whom a provider has named.

Keys and tokens stay on the server's side. A session ends with its key, or after its hours. Sessions are in memory: a
restart ends all. Knows keys; does not know HTTP.
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


@dataclass(frozen=True, slots=True)
class _Session:
    end_s: float
    """By the timer."""
    key_id: str = ""
    """"": a person's, not a key's."""
    visitor: Visitor | None = None
    """None: the key's holder."""
    id_token: str = ""
    """With which the provider's own session can be ended."""


class Sessions:
    """The logins of one console; safe to use from many threads."""

    def __init__(self, keys: ApiKeys, timer: Callable[[], float], hours: float, *, is_closed: bool = False) -> None:
        """`timer` gives monotonic seconds. With `is_closed`, a login is needed also before the first key exists."""
        self._keys, self._timer, self._lifetime_s = keys, timer, 3600 * hours
        self._secret = secrets.token_bytes(32)
        self._sessions: dict[str, _Session] = {}
        """Session id -> session."""
        self._lock = threading.Lock()
        self._needs_login = is_closed

    def make_id(self) -> str:
        """Return a new id, of no login yet."""
        return secrets.token_urlsafe(32)

    def log_in(self, key_text: str) -> str | None:
        """Return the id of a new session; None: an unknown, expired or revoked key. Raises WorkspaceError."""
        if self._keys.verify(key_text) is None:
            return None
        return self._begin(key_id=parse_key(key_text)[0])

    def log_in_person(self, visitor: Visitor, id_token: str) -> str:
        """Return the id of a new session of a person with this ID token."""
        return self._begin(visitor=visitor, id_token=id_token)

    def log_out(self, session_id: str) -> str:
        """End a session; return its ID token, "" if it has none."""
        with self._lock:
            ended = self._sessions.pop(session_id, None)
        return ended.id_token if ended is not None else ""

    def find_visitor(self, session_id: str) -> Visitor | None:
        """Return who has this session; None: nobody, or its key is no longer valid. Raises WorkspaceError."""
        session = self._sessions.get(session_id)
        visitor = None
        if session is not None and self._timer() < session.end_s:
            visitor = session.visitor or _to_visitor(self._keys.find_valid(session.key_id))
        if visitor is None:
            self.log_out(session_id)
        return visitor

    def find_holder(self, key_text: str) -> Visitor | None:
        """Return who has this key; None: an unknown, expired or revoked one. Raises WorkspaceError."""
        return _to_visitor(self._keys.verify(key_text))

    def needs_login(self) -> bool:
        """Return whether only those who have logged in may read; without, anyone on this machine may.

        Raises WorkspaceError.
        """
        self._needs_login = self._needs_login or self._keys.has_any()
        return self._needs_login

    def make_form_token(self, session_id: str) -> str:
        """Return the token that forms of this session carry."""
        return hmac.new(self._secret, session_id.encode(), hashlib.sha256).hexdigest()

    def is_form_token(self, session_id: str, token: str) -> bool:
        """Return whether a form's token is that of the session."""
        return bool(session_id) and hmac.compare_digest(self.make_form_token(session_id), token)

    def _begin(self, *, key_id: str = "", visitor: Visitor | None = None, id_token: str = "") -> str:
        session_id, now_s = self.make_id(), self._timer()
        with self._lock:
            self._sessions = {one: value for one, value in self._sessions.items() if value.end_s > now_s}
            while len(self._sessions) >= _MAX_SESSIONS:
                self._sessions.pop(next(iter(self._sessions)))
            self._sessions[session_id] = _Session(now_s + self._lifetime_s, key_id, visitor, id_token)
        return session_id


def _to_visitor(key: ApiKey | None) -> Visitor | None:
    """Return the visitor whom a valid key stands for."""
    return None if key is None else Visitor(key.tenant, key.role, _name_holder(key))


def _name_holder(key: ApiKey) -> str:
    return f"{key.note} (key {key.id})" if key.note else f"key {key.id}"
