"""Who makes a move, and from where: for the ledger."""

import getpass
import os
import socket
from dataclasses import dataclass

_SSH_VARIABLE = "SSH_CONNECTION"
_MAX_ORIGIN = 200


@dataclass(frozen=True, slots=True)
class Actor:
    """A person or a part of the product."""

    name: str
    origin: str = ""
    """From where, as the process saw it; "": it is no person."""

    def __post_init__(self) -> None:
        """Cut an origin that is longer than the ledger's column."""
        object.__setattr__(self, "origin", self.origin[:_MAX_ORIGIN])


def find_current_user() -> str:
    """Return the user of this process as `name@host`, for the ledger."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # no name for this user id, as in many containers
        name = "unknown"
    return f"{name}@{socket.gethostname()}"


def find_command_actor() -> Actor:
    """Return the user of a command; with SSH, the origin has the client's address."""
    client = os.environ.get(_SSH_VARIABLE, "").split()
    return Actor(find_current_user(), f"command line over SSH from {client[0]}" if client else "command line")
