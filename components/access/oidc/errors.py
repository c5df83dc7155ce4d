"""Why somebody is not let in by OpenID Connect. Knows no HTTP."""

from components.errors import PrefixFleetError


class TokenError(PrefixFleetError):
    """A token or a login is not genuine, not for us, or no longer valid."""


class RoleError(PrefixFleetError):
    """A valid token that names no role and no tenant here."""


class IssuerError(PrefixFleetError):
    """The provider does not answer, or not as OpenID Connect says."""
