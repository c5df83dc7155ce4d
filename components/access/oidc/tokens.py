"""Verify the JWTs of a provider, and say whose they are. Does not know where a token came from."""

import time
from collections.abc import Callable
from typing import Any

import jwt

from components.access.latest_clock import LatestClock
from components.access.oidc.errors import TokenError
from components.access.oidc.identity import Identity, find_identity
from components.access.oidc.issuer import Issuer
from components.config.oidc import OidcConfig

_MAX_CHARS = 16_384
_REQUIRED = ["exp", "iss", "aud", "sub"]
_FIX = "get a new one from your identity provider"
_GOT: tuple[tuple[type[jwt.PyJWTError], str], ...] = (
    (jwt.ExpiredSignatureError, "an expired one"),
    (jwt.ImmatureSignatureError, "one that is not valid yet"),
    (jwt.InvalidAudienceError, "one for another audience"),
    (jwt.InvalidIssuerError, "one of another issuer"),
    (jwt.InvalidSignatureError, "one with a wrong signature"),
    (jwt.InvalidAlgorithmError, "one with a signature that is not accepted"),
    (jwt.MissingRequiredClaimError, "one without exp, iss, aud or sub"),
)


class TokenVerifier:
    """Verifies tokens; use it from one event loop."""

    def __init__(
        self,
        config: OidcConfig,
        issuer: Issuer,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` gives seconds since 1970, `timer` monotonic seconds."""
        self._config, self._issuer = config, issuer
        self._latest_clock = LatestClock(clock, timer)

    async def verify(self, text: str, audience: str) -> dict[str, Any]:
        """Return the claims of a token for this audience.

        Raises:
            IssuerError: the provider's keys cannot be read.
            TokenError: it is forged, expired, or for or from somebody else.
        """
        wanted, config = "a token of the identity provider", self._config
        try:
            if len(text) > _MAX_CHARS:
                raise jwt.DecodeError
            header = jwt.get_unverified_header(text)
            algorithm, name = header.get("alg"), header.get("kid")
            if algorithm not in config.algorithms:
                raise jwt.InvalidAlgorithmError
            key = await self._issuer.find_key(name, str(algorithm))
            if key is None:
                raise TokenError(wanted, "one signed with an unknown key", _FIX)
            claims: dict[str, Any] = jwt.decode(
                text,
                key,
                algorithms=[str(algorithm)],
                audience=audience,
                issuer=config.issuer,
                leeway=config.leeway_seconds,
                options={"require": _REQUIRED, "enforce_minimum_key_length": True},
            )
            if self._latest_clock() >= int(claims["exp"]) + config.leeway_seconds:  # the clock was set back
                raise jwt.ExpiredSignatureError
        except jwt.PyJWTError as problem:
            got = next((words for kind, words in _GOT if isinstance(problem, kind)), "something else")
            raise TokenError(wanted, got, _FIX) from None
        return claims


class BearerTokens:
    """The tokens with which programs call the API."""

    def __init__(self, config: OidcConfig, issuer: Issuer, verifier: TokenVerifier) -> None:
        self._config, self._verifier = config, verifier
        self.issuer = issuer

    @staticmethod
    def is_token(text: str) -> bool:
        """Return whether a text has the form of a JWT, which no API key has."""
        return text.count(".") == 2

    async def identify(self, text: str) -> Identity:
        """Return whose token it is.

        Raises:
            IssuerError: the provider's keys cannot be read.
            TokenError: as `TokenVerifier.verify`, or no tokens are accepted.
            RoleError: it names no role and no tenant.
        """
        if self._config.audience is None:
            raise TokenError("an API key", "a token, while oidc.audience is null", "send a key")
        return find_identity(await self._verifier.verify(text, self._config.audience), self._config)


def open_bearer_tokens(
    config: OidcConfig, clock: Callable[[], float] = time.time, timer: Callable[[], float] = time.monotonic
) -> BearerTokens:
    """Return the tokens of a provider; it is asked when the first one comes."""
    issuer = Issuer(config.issuer, config.algorithms, timer)
    return BearerTokens(config, issuer, TokenVerifier(config, issuer, clock, timer))
