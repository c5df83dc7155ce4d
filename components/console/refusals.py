"""Requests that get an error page: a status and three beats. Knows no page."""

from components.errors import (
    ArtifactError,
    BaseModelError,
    ConfigError,
    DataError,
    GateError,
    MoveRefusedError,
    PrefixFleetError,
    RegistryError,
    WorkspaceError,
)

_STATUSES: tuple[tuple[type[PrefixFleetError], int], ...] = (
    (MoveRefusedError, 409),
    (RegistryError, 503),
    (WorkspaceError, 503),
    (ConfigError, 400),
    (DataError, 400),
    (GateError, 409),
    (ArtifactError, 409),
    (BaseModelError, 503),
)


class PageRefusedError(PrefixFleetError):
    """A request that is refused with an HTTP status."""

    def __init__(self, status: int, wanted: str, got: str, fix: str) -> None:
        super().__init__(wanted, got, fix)
        self.status = status


class LoginNeededError(PageRefusedError):
    """A page that needs a login, asked for without one."""

    def __init__(self) -> None:
        super().__init__(401, "a login", "none", "log in with an API key")


def describe_silence(problem: Exception) -> str:
    """Return why a server did not answer, in the system's words without Python's names for them."""
    reason = getattr(problem, "reason", problem)
    return getattr(reason, "strerror", None) or str(reason)


def make_not_found_error(what: str) -> PageRefusedError:
    """Return the error for something that does not exist, or that the visitor may not see."""
    return PageRefusedError(404, what, "none at this address that you may see", "go back to the start page")


def find_status(problem: PrefixFleetError) -> int:
    """Return the HTTP status of an error."""
    if isinstance(problem, PageRefusedError):
        return problem.status
    return next((status for kind, status in _STATUSES if isinstance(problem, kind)), 500)
