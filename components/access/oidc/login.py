"""A person's login at a provider: authorization code with PKCE, state and nonce; and the logout there.

What a login needs until the person comes back is in a cookie of the browser alone: a random id, the time, and the page
that was wanted. State, nonce and PKCE's verifier are derived from the cookie by a secret of this process, so an altered
cookie, or one of another browser, fits no answer. Knows the provider's addresses; does not know the console's pages.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from components.access.oidc.errors import IssuerError, TokenError
from components.access.oidc.identity import Identity, find_identity, has_claim
from components.access.oidc.issuer import Issuer
from components.access.oidc.tokens import BearerTokens, TokenVerifier
from components.config.oidc import OidcConfig

SECRET_VARIABLE = "PREFIXFLEET_OIDC_CLIENT_SECRET"  # noqa: S105 - the name of a variable
"""Environment variable with the secret of `oidc.client_id`; not set: a public client, which PKCE protects."""
LOGIN_SECONDS = 600
"""How long a person may take at the provider."""
_MAX_PAGE_CHARS = 1000
_AGAIN = "log in again"


@dataclass(frozen=True, slots=True)
class Login:
    """A finished login."""

    identity: Identity
    page: str
    """The page that was wanted."""
    id_token: str


class CodeLogin:
    """The logins of one console; use it from one event loop."""

    def __init__(
        self, config: OidcConfig, issuer: Issuer, verifier: TokenVerifier, secret: str, timer: Callable[[], float]
    ) -> None:
        """`secret` is the client's; "": it has none. `timer` gives monotonic seconds."""
        self._config, self._issuer, self._verifier = config, issuer, verifier
        self._secret, self._timer = secret, timer
        self._own_secret = secrets.token_bytes(32)

    async def begin(self, redirect_uri: str, page: str) -> tuple[str, str]:
        """Return the address where the person logs in, and the value of the cookie until then. Raises IssuerError."""
        endpoints = await self._issuer.find_endpoints()
        page_text = base64.urlsafe_b64encode(page[:_MAX_PAGE_CHARS].encode()).decode().rstrip("=")
        cookie = f"{secrets.token_urlsafe(32)}.{int(self._timer() + LOGIN_SECONDS)}.{page_text}"
        challenge = hashlib.sha256(self._derive("verifier", cookie).encode()).digest()
        query = {
            "response_type": "code",
            "client_id": self._config.client_id or "",
            "redirect_uri": redirect_uri,
            "scope": " ".join(self._config.scopes),
            "state": self._derive("state", cookie),
            "nonce": self._derive("nonce", cookie),
            "code_challenge": _encode(challenge),
            "code_challenge_method": "S256",
        }
        return _add_query(_require(endpoints.authorization, "authorization_endpoint"), query), cookie

    async def finish(self, query: Mapping[str, str], cookie: str, redirect_uri: str) -> Login:
        """Return who came back from the provider; `query` is that of the address to which they were sent.

        Raises:
            IssuerError: the provider does not answer.
            TokenError: another login's answer, a refusal of the provider, or a token that is not for this login.
            RoleError: the person has no role and no tenant here.
        """
        page = self._open_cookie(cookie)
        if page is None or not hmac.compare_digest(
            self._derive("state", cookie).encode(), query.get("state", "").encode()
        ):
            raise TokenError("the answer to a login of this browser", "another one, or one that took too long", _AGAIN)
        endpoints = await self._issuer.find_endpoints()
        named = query.get("iss")
        if (named is not None or endpoints.names_itself) and named != self._config.issuer:
            raise TokenError("an answer of the identity provider", "one of another issuer", _AGAIN)
        if "error" in query or not query.get("code"):
            got = f"{query.get('error', 'no code')[:100]} {query.get('error_description', '')[:300]}".strip()
            raise TokenError("a login at the identity provider", got, _AGAIN)
        answer = await self._exchange(query["code"], cookie, redirect_uri)
        id_token = answer.get("id_token")
        if not isinstance(id_token, str):
            raise TokenError("an ID token", "an answer without one", "allow the scope openid at the provider")
        claims = await self._check_id_token(id_token, cookie)
        if not self._has_roles(claims) and endpoints.userinfo and isinstance(answer.get("access_token"), str):
            claims = await self._add_userinfo(claims, endpoints.userinfo, answer["access_token"])
        return Login(find_identity(claims, self._config), page, id_token)

    async def make_logout_url(self, id_token: str, back: str) -> str | None:
        """Return the address that ends the person's session at the provider and leads `back`; None: it has none."""
        try:
            endpoints = await self._issuer.find_endpoints()
        except IssuerError:
            return None
        if not endpoints.end_session:
            return None
        values = {
            "id_token_hint": id_token,
            "client_id": self._config.client_id or "",
            "post_logout_redirect_uri": back,
        }
        return _add_query(endpoints.end_session, values)

    async def _exchange(self, code: str, cookie: str, redirect_uri: str) -> dict[str, Any]:
        endpoints = await self._issuer.find_endpoints()
        client_id = self._config.client_id or ""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": self._derive("verifier", cookie),
        }
        headers = {}
        if self._secret and not endpoints.posts_secret:
            pair = urlencode({client_id: self._secret}).replace("=", ":", 1)  # RFC 6749, 2.3.1
            headers["authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            form |= {"client_id": client_id, **({"client_secret": self._secret} if self._secret else {})}
        url = _require(endpoints.token, "token_endpoint")
        status, answer = await self._issuer.send("POST", url, data=form, headers=headers)
        if status >= 500:
            raise IssuerError("a token of the identity provider", f"status {status}", "try again later")
        if status != 200:
            got = f"status {status} {str(answer.get('error', ''))[:100]}"
            fix = f"{_AGAIN}; if it stays, check oidc.client_id and {SECRET_VARIABLE}"
            raise TokenError("a token for the code of this login", got.strip(), fix)
        return answer

    async def _check_id_token(self, id_token: str, cookie: str) -> dict[str, Any]:
        claims = await self._verifier.verify(id_token, self._config.client_id or "")
        if not hmac.compare_digest(self._derive("nonce", cookie).encode(), str(claims.get("nonce", "")).encode()):
            raise TokenError("the ID token of this login", "one of another login", _AGAIN)
        audience, party = claims["aud"], claims.get("azp")
        is_shared = isinstance(audience, list) and len(audience) > 1
        if (is_shared or party is not None) and party != self._config.client_id:
            raise TokenError("an ID token for this console", "one for another client", _AGAIN)
        return claims

    def _has_roles(self, claims: Mapping[str, Any]) -> bool:
        return has_claim(claims, self._config.role_claim) and has_claim(claims, self._config.tenant_claim)

    async def _add_userinfo(self, claims: dict[str, Any], url: str, access_token: str) -> dict[str, Any]:
        """Return the claims with those that the provider has only there; the ID token's win."""
        more = await self._issuer.ask("GET", url, headers={"authorization": f"Bearer {access_token}"})
        if more.get("sub") != claims["sub"]:
            raise TokenError("what the provider knows of this person", "what it knows of another", _AGAIN)
        return {**more, **claims}

    def _open_cookie(self, cookie: str) -> str | None:
        """Return the page in a cookie; None: it is none, or too old."""
        parts = cookie.split(".")
        if len(parts) != 3:
            return None
        try:
            if self._timer() >= int(parts[1]):
                return None
            return base64.urlsafe_b64decode(parts[2] + "=" * (-len(parts[2]) % 4)).decode()
        except (binascii.Error, ValueError):
            return None

    def _derive(self, use: str, cookie: str) -> str:
        return _encode(hmac.new(self._own_secret, f"{use} {cookie}".encode(), hashlib.sha256).digest())


@dataclass(frozen=True, slots=True)
class SingleSignOn:
    """What a console needs of a provider."""

    login: CodeLogin | None
    """None: the console has no client id."""
    bearer: BearerTokens


def open_single_sign_on(
    config: OidcConfig,
    environment: Mapping[str, str],
    clock: Callable[[], float] = time.time,
    timer: Callable[[], float] = time.monotonic,
) -> SingleSignOn:
    """Return a console's side of a provider; it is asked at the first login."""
    issuer = Issuer(config.issuer, config.algorithms, timer)
    verifier = TokenVerifier(config, issuer, clock, timer)
    secret = environment.get(SECRET_VARIABLE, "")
    login = CodeLogin(config, issuer, verifier, secret, timer) if config.client_id else None
    return SingleSignOn(login, BearerTokens(config, issuer, verifier))


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _require(url: str, name: str) -> str:
    if not url:
        fix = "use a provider that has it"
        raise IssuerError(f"the provider's {name}", "a configuration without it", fix)
    return url


def _add_query(url: str, query: Mapping[str, str]) -> str:
    return f"{url}{'&' if '?' in url else '?'}{urlencode(query)}"
