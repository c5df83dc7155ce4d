"""Which version answers a request: sticky, pure, and the same on every server.

A key (of a user, or of one request where nobody says who asks) has a fixed place in [0, 1) for each trial; the
challenger answers the keys below its share. So a growing share only moves keys from the champion to the challenger, and
another salt (the challenger's version) draws other keys first.

Each share is an experiment of its own: users whom the champion has answered until then are drawn anew, and all that was
seen of them before says nothing of how. Those who were the challenger's already are not drawn, so their answers are no
evidence. Knows no request and no registry.
"""

import hashlib
import secrets

from components.rollout.types import Arm, EvidenceTicket, Exposure


def assign_arm(tenant: str, key: str | None, exposure: Exposure) -> tuple[Arm, EvidenceTicket | None]:
    """The arm of a key, or of a request without one by chance; without a ticket its answer is no evidence."""
    known = key or secrets.token_hex(12)
    at = hash_key(tenant, known, exposure.challenger)
    drawn = choose_arm(tenant, known, exposure.share, exposure.challenger)
    if not exposure.share_started_s or at < exposure.previous_share * 2**64:
        return drawn, None
    return drawn, EvidenceTicket(exposure.share_started_s, at if key else None)


def choose_arm(tenant: str, key: str, share: float, salt: str) -> Arm:
    """The arm that answers `key`; `share` in [0, 1] is the part of all keys that the challenger answers."""
    return "challenger" if hash_key(tenant, key, salt) < share * 2**64 else "champion"


def hash_key(tenant: str, key: str, salt: str) -> int:
    """Where a key stands among all keys, uniform in [0, 2**64)."""
    text = "\0".join((tenant, salt, key)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big")
