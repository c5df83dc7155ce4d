"""API keys: create, list, revoke and verify them.

A key has a role: it grants one tenant, or all of them to look at (viewer), to operate (operator), or with everything
(admin). A key is `pf-<id>-<secret>`. The table stores the SHA-256 of the secret, which is enough for 256 random bits.
A revoked key stays in the table. Does not know HTTP; the clocks are passed in.
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, get_args

import sqlalchemy as sql
from sqlalchemy.engine import Connection, RowMapping

from components.access.latest_clock import LatestClock
from components.errors import ConfigError, WorkspaceError
from components.storage.database import Database

KEYS = sql.Table(
    "prefixfleet_keys",
    sql.MetaData(),
    sql.Column("id", sql.String(16), primary_key=True),
    # NULL: an admin; "*viewer", "*operator": no tenant has such a name, so earlier releases grant these keys nothing
    sql.Column("tenant", sql.String(63), nullable=True, index=True),
    sql.Column("secret_sha256", sql.String(64), nullable=False),
    sql.Column("note", sql.String(200), nullable=False),
    sql.Column("created_s", sql.Float, nullable=False),
    sql.Column("expires_s", sql.Float, nullable=True),
    sql.Column("revoked_s", sql.Float, nullable=True),
)

Role = Literal["tenant", "viewer", "operator", "admin"]
FleetRole = Literal["viewer", "operator", "admin"]
"""A role that sees every tenant."""

_ROLE_MARK = "*"
_MAX_CACHED_KEYS = 100_000
_FIELDS = ("id", "tenant", "note", "created_s", "expires_s", "revoked_s")
_DUMMY_DIGEST = hashlib.sha256(secrets.token_bytes(32)).hexdigest()


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its secret. Times are seconds since 1970."""

    id: str
    tenant: str | None
    """The tenant that it grants; None: its role decides."""
    note: str
    created_s: float
    expires_s: float | None
    revoked_s: float | None
    role: Role = "tenant"

    @property
    def holder(self) -> str:
        """Whose key it is, in words."""
        return self.tenant or f"{'an' if self.role != 'viewer' else 'a'} {self.role}"

    @property
    def times(self) -> tuple[float | None, ...]:
        """When it was created, when it expires, and when it was revoked."""
        return self.created_s, self.expires_s, self.revoked_s

    def is_valid_at(self, now_s: float) -> bool:
        """Return whether it is neither revoked nor expired."""
        return self.revoked_s is None and (self.expires_s is None or now_s < self.expires_s)


KeyRecord = tuple[ApiKey | None, str]
"""A key, and the digest of its secret; None: there is no such key."""


class ApiKeys:
    """The table of keys; safe to use from many threads. Methods raise WorkspaceError if the database fails."""

    def __init__(
        self,
        database: Database,
        clock: Callable[[], float],
        *,
        fresh_seconds: float = 0.0,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` gives seconds since 1970, `timer` monotonic seconds.

        `verify` reads a key from the database again after `fresh_seconds` of the timer.
        """
        self._database, self._clock, self._fresh_seconds, self._timer = database, clock, fresh_seconds, timer
        self._latest_clock = LatestClock(clock, timer)
        self._cache: dict[str, tuple[KeyRecord, float]] = {}
        """Id -> its record, and when it was read, by the timer."""
        with database.transaction("the table of API keys") as connection:
            KEYS.metadata.create_all(connection)

    def create(
        self,
        tenant: str | None,
        note: str = "",
        seconds: float | None = None,
        *,
        role: FleetRole = "admin",
        record: Callable[[Connection, ApiKey], None] = lambda *_: None,
    ) -> tuple[ApiKey, str]:
        """Create a key for a tenant (None: for a `role`) that expires after `seconds` (None: never).

        `record` writes who did it, in the same transaction. Returns the key and its text, which cannot be read again.
        """
        now_s = self._clock()
        key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
        expires_s = None if seconds is None else now_s + seconds
        key = ApiKey(key_id, tenant, note, now_s, expires_s, None, role if tenant is None else "tenant")
        stored = tenant or (None if role == "admin" else f"{_ROLE_MARK}{role}")
        row = {"secret_sha256": _hash_secret(secret), **{field: getattr(key, field) for field in _FIELDS}}
        row["tenant"] = stored
        with self._database.transaction("to save an API key") as connection:
            connection.execute(sql.insert(KEYS), row)
            record(connection, key)
        return key, f"pf-{key_id}-{secret}"

    def list(self, tenant: str | None = None) -> list[ApiKey]:
        """Return all keys, or a tenant's, the oldest first."""
        query = sql.select(KEYS).order_by(KEYS.c.created_s)
        if tenant is not None:
            query = query.where(KEYS.c.tenant == tenant)
        with self._database.connect("the API keys") as connection:
            return [_to_key(row) for row in connection.execute(query).mappings()]

    def revoke(self, key_id: str, record: Callable[[Connection, ApiKey], None] = lambda *_: None) -> ApiKey:
        """Revoke a key; each server refuses it within its `keys_seconds`.

        `record` writes who did it, in the same transaction, unless the key was revoked before.

        Raises:
            ConfigError: there is no key with this id.
        """
        is_valid = KEYS.c.revoked_s.is_(None)
        with self._database.transaction("to revoke an API key") as connection:
            change = sql.update(KEYS).where(KEYS.c.id == key_id, is_valid).values(revoked_s=self._clock())
            is_changed = connection.execute(change).rowcount == 1
            row = connection.execute(sql.select(KEYS).where(KEYS.c.id == key_id)).mappings().first()
            if row is not None and is_changed:
                record(connection, _to_key(row))
        if row is None:
            raise ConfigError("the id of a key", repr(key_id), "see `prefixfleet keys list`")
        return _to_key(row)

    def forget(self, tenant: str) -> int:
        """Delete a tenant's keys from the table; returns how many there were."""
        with self._database.transaction(f"to delete the API keys of {tenant}") as connection:
            return connection.execute(sql.delete(KEYS).where(KEYS.c.tenant == tenant)).rowcount

    def has_any(self) -> bool:
        """Return whether a key was ever created, including revoked and expired ones."""
        with self._database.connect("the number of API keys") as connection:
            return connection.execute(sql.select(KEYS.c.id).limit(1)).first() is not None

    def verify(self, text: str) -> ApiKey | None:
        """Return the key, or None if it is unknown, expired or revoked; both take the same time.

        While the database fails, keys that this process has read before stay valid.
        """
        key_id, _ = parse_key(text)
        return self.check(text, self.find_fresh(key_id) or self.read(key_id))

    def check(self, text: str, record: KeyRecord) -> ApiKey | None:
        """Return the key of a record if the text has its secret and it is valid now."""
        key, digest = record
        matches = hmac.compare_digest(_hash_secret(parse_key(text)[1]), digest)
        return key if matches and key is not None and key.is_valid_at(self._latest_clock()) else None

    def find_valid(self, key_id: str) -> ApiKey | None:
        """Return the key with this id if it is valid now; else None. For a holder whom `verify` has accepted before."""
        key, _ = self.find_fresh(key_id) or self.read(key_id)
        return key if key is not None and key.is_valid_at(self._latest_clock()) else None

    def find_fresh(self, key_id: str) -> KeyRecord | None:
        """Return what was read of a key in the last `fresh_seconds`; does not ask the database."""
        known = self._cache.get(key_id)
        return known[0] if known is not None and self._timer() - known[1] < self._fresh_seconds else None

    def find_known(self, key_id: str) -> KeyRecord | None:
        """Return what was last read of a key, however long ago; does not ask the database."""
        known = self._cache.get(key_id)
        return None if known is None else known[0]

    def read(self, key_id: str) -> KeyRecord:
        """Read a key from the database; while it fails, return what was read before, if there is something."""
        known, read_s = self.find_known(key_id), self._timer()
        try:
            with self._database.connect("an API key") as connection:
                row = connection.execute(sql.select(KEYS).where(KEYS.c.id == key_id)).mappings().first()
        except WorkspaceError:
            if known is None:
                raise
            self._cache[key_id] = known, self._timer()  # so not every request waits for the failing database
            return known
        if row is None:
            self._cache.pop(key_id, None)
            return None, _DUMMY_DIGEST
        if len(self._cache) >= _MAX_CACHED_KEYS:
            self._cache.clear()
        self._cache[key_id] = (_to_key(row), row["secret_sha256"]), read_s
        return self._cache[key_id][0]


def parse_key(text: str) -> tuple[str, str]:
    """Return the id and the secret in a key's text; both are "" if it has another form."""
    kind, _, rest = text.partition("-")
    key_id, _, secret = rest.partition("-")
    return (key_id, secret) if kind == "pf" else ("", "")


def parse_duration(text: str) -> float:
    """Return the seconds of a duration such as `90d`, `12h`, `30m` or `45s`.

    Raises:
        ConfigError: the text has another form.
    """
    seconds = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}.get(text[-1:])
    if seconds is None or not text[:-1].isascii() or not text[:-1].isdigit() or not int(text[:-1]):
        raise ConfigError("a duration such as 90d, 12h, 30m or 45s", repr(text), "write a number above 0 and a unit")
    return float(int(text[:-1]) * seconds)


def format_time(seconds: float | None) -> str:
    """Format a time for a table, in UTC to the minute; None gives a dash."""
    return "-" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


def _hash_secret(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _to_key(row: RowMapping) -> ApiKey:
    values, stored = {field: row[field] for field in _FIELDS}, row["tenant"]
    if stored is not None and not stored.startswith(_ROLE_MARK):
        return ApiKey(**values)
    role = "admin" if stored is None else stored.removeprefix(_ROLE_MARK)
    if role not in get_args(FleetRole):  # of a later release
        return ApiKey(**values)
    return ApiKey(**{**values, "tenant": None, "role": role})
