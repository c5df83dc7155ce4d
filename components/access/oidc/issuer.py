"""What a provider publishes: its endpoints and the keys that its tokens are signed with.

The keys are read again every ten minutes, and when a token names an unknown one, but at most every ten seconds, so a
flood of invented names costs the provider nothing. While the provider does not answer, the keys that were read last
count for a day; then its tokens are refused. Knows HTTP; does not know tokens.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import jwt

from components.access.oidc.errors import IssuerError
from components.config.oidc import is_secure_url

_FRESH_S, _KEEP_S, _PAUSE_S = 600.0, 86_400.0, 10.0
_TIMEOUT_S = 5.0
_LOGGER = "prefixfleet"


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Addresses of a provider; "": it has none."""

    authorization: str
    token: str
    userinfo: str
    end_session: str
    posts_secret: bool
    """Whether it takes a client's secret only in the body."""
    names_itself: bool
    """Whether its answers to a login have `iss` (RFC 9207)."""


class Issuer:
    """One provider; use it from one event loop."""

    def __init__(self, url: str, algorithms: Sequence[str], timer: Callable[[], float]) -> None:
        """`timer` gives monotonic seconds. Nothing is read yet."""
        self.url = url
        self._algorithms, self._timer = algorithms, timer
        self._client = httpx.AsyncClient(timeout=_TIMEOUT_S, limits=httpx.Limits(max_keepalive_connections=0))
        self._endpoints: Endpoints | None = None
        self._keys: dict[tuple[str, str], jwt.PyJWK] = {}
        """(key's name, algorithm) -> the key."""
        self._read_s: float | None = None
        self._tried_s: float | None = None
        self._reading: asyncio.Task[None] | None = None
        self.error = ""
        """Why the last reading failed; "": it did not."""

    async def find_endpoints(self) -> Endpoints:
        """Return its endpoints. Raises IssuerError."""
        if self._is_stale() or self._endpoints is None:
            await self._read()
        if self._endpoints is None or self._is_too_old():
            raise self._make_error(self.error or "no answer yet")
        return self._endpoints

    async def find_key(self, name: str | None, algorithm: str) -> jwt.PyJWK | None:
        """Return the key of this name for this algorithm; None: there is none.

        Without a name: the only key for the algorithm. Raises IssuerError: no keys are known, or the key is unknown
        while the provider does not answer.
        """
        key = self._select(name, algorithm)
        if self._is_too_old() or (key is None and not self._has_name(name)):
            await self._read()
            key = self._select(name, algorithm)
        elif self._is_stale():
            self._begin_to_read()
        if self._is_too_old() or (key is None and self.error):
            raise self._make_error(self.error or "no answer yet")
        return key

    async def ask(self, method: str, url: str, **values: Any) -> dict[str, Any]:
        """Send a request and return the object that it is answered with. Raises IssuerError."""
        status, body = await self.send(method, url, **values)
        if not 200 <= status < 300:
            raise self._make_error(f"status {status} ({str(body.get('error', ''))[:100]})")
        return body

    async def send(self, method: str, url: str, **values: Any) -> tuple[int, dict[str, Any]]:
        """Send a request and return the status and the object that it is answered with. Raises IssuerError."""
        try:
            response = await self._client.request(method, url, **values)
            body = response.json()
        except (httpx.HTTPError, httpx.InvalidURL) as problem:
            raise self._make_error(type(problem).__name__) from None
        except ValueError:
            raise self._make_error(f"status {response.status_code} without JSON") from None
        if not isinstance(body, dict):
            raise self._make_error("JSON that is no object")
        return response.status_code, body

    def _is_stale(self) -> bool:
        return self._read_s is None or self._timer() - self._read_s > _FRESH_S

    def _is_too_old(self) -> bool:
        return self._read_s is None or self._timer() - self._read_s > _KEEP_S

    def _has_name(self, name: str | None) -> bool:
        return any(name in (None, known) for known, _ in self._keys)

    def _select(self, name: str | None, algorithm: str) -> jwt.PyJWK | None:
        if name is not None:
            return self._keys.get((name, algorithm))
        fitting = [key for (_, known), key in self._keys.items() if known == algorithm]
        return fitting[0] if len(fitting) == 1 else None

    def _make_error(self, got: str) -> IssuerError:
        return IssuerError(f"an answer of the identity provider {self.url}", got, "try again later, or see its log")

    async def _read(self) -> None:
        self._begin_to_read()
        if self._reading is not None and not self._reading.done():
            await asyncio.shield(self._reading)

    def _begin_to_read(self) -> None:
        is_reading = self._reading is not None and not self._reading.done()
        if is_reading or (self._tried_s is not None and self._timer() - self._tried_s < _PAUSE_S):
            return
        self._tried_s = self._timer()
        self._reading = asyncio.create_task(self._read_all())

    async def _read_all(self) -> None:
        try:
            said = await self.ask("GET", f"{self.url.removesuffix('/')}/.well-known/openid-configuration")
            if said.get("issuer") != self.url:
                raise self._make_error(f"the issuer {str(said.get('issuer'))[:200]!r}; oidc.issuer must be the same")
            endpoints = self._parse_endpoints(said)
            keys = self._parse_keys(await self.ask("GET", self._get_url(said, "jwks_uri")))
        except IssuerError as problem:
            if not self.error:
                logging.getLogger(_LOGGER).warning("%s", problem)
            self.error = problem.got
            return
        self._endpoints, self._keys, self._read_s, self.error = endpoints, keys, self._timer(), ""

    def _get_url(self, said: dict[str, Any], name: str, *, needed: bool = True) -> str:
        url = said.get(name)
        if url is None and not needed:
            return ""
        if not isinstance(url, str) or not is_secure_url(url):
            raise self._make_error(f"{name} = {str(url)[:200]!r}, which is no URL of https")
        return url

    def _parse_endpoints(self, said: dict[str, Any]) -> Endpoints:
        methods = said.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        return Endpoints(
            authorization=self._get_url(said, "authorization_endpoint", needed=False),
            token=self._get_url(said, "token_endpoint", needed=False),
            userinfo=self._get_url(said, "userinfo_endpoint", needed=False),
            end_session=self._get_url(said, "end_session_endpoint", needed=False),
            posts_secret="client_secret_basic" not in methods,
            names_itself=said.get("authorization_response_iss_parameter_supported") is True,
        )

    def _parse_keys(self, said: dict[str, Any]) -> dict[tuple[str, str], jwt.PyJWK]:
        """Return the keys for signatures that are long enough and fit an accepted algorithm."""
        keys: dict[tuple[str, str], jwt.PyJWK] = {}
        listed = said.get("keys")
        for one in listed if isinstance(listed, list) else ():
            if not isinstance(one, dict) or one.get("kty") == "oct" or one.get("use", "sig") != "sig":
                continue
            for algorithm in self._algorithms:
                if one.get("alg", algorithm) != algorithm:
                    continue
                try:
                    key = jwt.PyJWK(one, algorithm)
                    if not key.Algorithm.check_key_length(key.key):
                        keys[str(one.get("kid", "")), algorithm] = key
                except jwt.PyJWTError:
                    continue  # of another kind than the algorithm's
        if not keys:
            raise self._make_error("no key for signatures of oidc.algorithms")
        return keys
