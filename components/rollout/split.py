"""Which version answers a request: sticky, pure, and the same on every server.

A key (of a user, or of a request where nobody says who asks) has a fixed place in [0, 1) for each trial; the challenger
answers the keys below its share. So a growing share only moves keys from the champion to the challenger, and another
salt (the challenger's version) draws other keys first. Knows no request and no registry.
"""

import hashlib
from typing import Literal

Arm = Literal["champion", "challenger"]


def arm(tenant: str, key: str, share: float, salt: str) -> Arm:
    """The arm that answers `key`; `share` in [0, 1] is the part of all keys that the challenger answers."""
    return "challenger" if place(tenant, key, salt) < share * 2**64 else "champion"


def place(tenant: str, key: str, salt: str) -> int:
    """Where a key stands among all keys, uniform in [0, 2**64)."""
    text = "\0".join((tenant, salt, key)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big")
