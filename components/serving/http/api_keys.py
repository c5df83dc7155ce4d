"""API keys: made, listed, revoked and recognised. A key opens one tenant, or, with the admin scope, all and the doors.

A key is `pf-<id>-<secret>`; the table keeps the secret's SHA-256, which suffices for 256 random bits. A revoked key
stays in the table. Knows no HTTP and no clock.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sql
from sqlalchemy.engine import RowMapping

from components.errors import ConfigError, WorkspaceError
from components.storage.database import Database

KEYS = sql.Table(
    "prefixfleet_keys",
    sql.MetaData(),
    sql.Column("id", sql.String(16), primary_key=True),
    sql.Column("tenant", sql.String(63), nullable=True, index=True),  # none: the admin scope
    sql.Column("secret_sha256", sql.String(64), nullable=False),
    sql.Column("note", sql.String(200), nullable=False),
    sql.Column("created_s", sql.Float, nullable=False),
    sql.Column("expires_s", sql.Float, nullable=True),
    sql.Column("revoked_s", sql.Float, nullable=True),
)

_MAX_CACHED_KEYS = 100_000
_DUMMY_DIGEST = hashlib.sha256(secrets.token_bytes(32)).hexdigest()


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is known of a key but its secret. Times are seconds since 1970."""

    id: str
    tenant: str | None
    """None: the admin scope."""
    note: str
    created_s: float
    expires_s: float | None
    revoked_s: float | None

    @property
    def times(self) -> tuple[float | None, ...]:
        """When it was made, expires and was revoked."""
        return self.created_s, self.expires_s, self.revoked_s

    def is_valid_at(self, now_s: float) -> bool:
        """Whether it is neither revoked nor expired."""
        return self.revoked_s is None and (self.expires_s is None or now_s < self.expires_s)


class ApiKeys:
    """The table of keys; may be shared by threads. Methods raise WorkspaceError where the database does not answer."""

    def __init__(self, database: Database, clock: Callable[[], float], *, fresh_seconds: float = 0.0) -> None:
        """`clock` gives seconds since 1970. A recognised key is looked up again after `fresh_seconds`."""
        self._database, self._clock, self._fresh_seconds = database, clock, fresh_seconds
        self._cache: dict[str, tuple[ApiKey, str, float]] = {}
        with database.transaction("the table of keys") as connection:
            KEYS.metadata.create_all(connection)

    def create(self, tenant: str | None, note: str = "", seconds: float | None = None) -> tuple[ApiKey, str]:
        """Make a key of a tenant (None: the admin scope) that expires after `seconds`; the text is told only here."""
        now_s = self._clock()
        name, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
        key = ApiKey(name, tenant, note, now_s, None if seconds is None else now_s + seconds, None)
        row = {"secret_sha256": _hash_secret(secret), **{field: getattr(key, field) for field in ApiKey.__slots__}}
        with self._database.transaction("to keep a key") as connection:
            connection.execute(sql.insert(KEYS), row)
        return key, f"pf-{name}-{secret}"

    def list(self, tenant: str | None = None) -> list[ApiKey]:
        """All keys, or a tenant's, the oldest first."""
        query = sql.select(KEYS).order_by(KEYS.c.created_s)
        if tenant is not None:
            query = query.where(KEYS.c.tenant == tenant)
        with self._database.connect("the keys") as connection:
            return [_to_key(row) for row in connection.execute(query).mappings()]

    def revoke(self, name: str) -> ApiKey:
        """Let a key open nothing any more, in every server within its `keys_seconds`.

        Raises:
            ConfigError: there is no key of this id.
        """
        unless = KEYS.c.revoked_s.is_(None)
        with self._database.transaction("to revoke a key") as connection:
            connection.execute(sql.update(KEYS).where(KEYS.c.id == name, unless).values(revoked_s=self._clock()))
            row = connection.execute(sql.select(KEYS).where(KEYS.c.id == name)).mappings().first()
        if row is None:
            raise ConfigError("the id of a key", repr(name), "see `prefixfleet keys list`")
        return _to_key(row)

    def forget(self, tenant: str) -> int:
        """Remove every trace of a tenant's keys; returns how many there were."""
        with self._database.transaction(f"to remove the keys of {tenant}") as connection:
            return connection.execute(sql.delete(KEYS).where(KEYS.c.tenant == tenant)).rowcount

    def has_any(self) -> bool:
        """Whether a key was ever made, be it revoked or expired since."""
        with self._database.connect("whether there are keys") as connection:
            return connection.execute(sql.select(KEYS.c.id).limit(1)).first() is not None

    def verify(self, text: str) -> ApiKey | None:
        """The key that this is, if it opens anything now. A wrong one takes the same way as a right one.

        Where the database does not answer, a key that this process has recognised before still opens what it did.
        """
        kind, _, rest = text.partition("-")
        name, _, secret = rest.partition("-")
        key, digest = self._look_up(name)
        right = hmac.compare_digest(_hash_secret(secret), digest)
        return key if right and kind == "pf" and key is not None and key.is_valid_at(self._clock()) else None

    def _look_up(self, name: str) -> tuple[ApiKey | None, str]:
        known = self._cache.get(name)
        if known is not None and self._clock() - known[2] < self._fresh_seconds:
            return known[0], known[1]
        try:
            with self._database.connect("a key") as connection:
                row = connection.execute(sql.select(KEYS).where(KEYS.c.id == name)).mappings().first()
        except WorkspaceError:
            if known is None:
                raise
            return known[0], known[1]
        if row is None:
            self._cache.pop(name, None)
            return None, _DUMMY_DIGEST
        if len(self._cache) >= _MAX_CACHED_KEYS:
            self._cache.clear()
        self._cache[name] = (_to_key(row), row["secret_sha256"], self._clock())
        return self._cache[name][:2]


def parse_duration(text: str) -> float:
    """Seconds of `90d`, `12h`, `30m` or `45s`.

    Raises:
        ConfigError: it is none of these.
    """
    seconds = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}.get(text[-1:])
    if seconds is None or not text[:-1].isascii() or not text[:-1].isdigit() or not int(text[:-1]):
        raise ConfigError("a length of time as 90d, 12h, 30m or 45s", repr(text), "write it so")
    return float(int(text[:-1]) * seconds)


def format_time(seconds: float | None) -> str:
    """A time for a table, in UTC to the minute; a dash for none."""
    return "-" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


def _hash_secret(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _to_key(row: RowMapping) -> ApiKey:
    return ApiKey(**{field: row[field] for field in ApiKey.__slots__})
