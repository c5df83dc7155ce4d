"""Splits traffic: decides which version answers a request. Sticky, pure, and the same on every server.

A key is that of a user, or of a single request without a user. A hash gives it a fixed place in [0, 1) for each trial,
and the challenger answers the keys below its share. So a growing share only moves keys from champion to challenger, and
another salt (the challenger's version) selects other keys first.

Each share is an experiment of its own. Users whom the champion answered before are randomised again, independently of
their earlier answers. Users who were the challenger's already are not randomised again, so their answers are no
evidence. Knows no request and no registry.
"""

import hashlib
import secrets

from components.rollout.types import Arm, EvidenceTicket, Exposure


def assign_arm(tenant: str, key: str | None, exposure: Exposure) -> tuple[Arm, EvidenceTicket | None]:
    """Return the arm that answers a key, and its ticket; None: the answer is no evidence.

    Without a key the arm is random.
    """
    known_key = key or secrets.token_hex(12)
    place = hash_key(tenant, known_key, exposure.challenger)
    arm = choose_arm(tenant, known_key, exposure.share, exposure.challenger)
    if not exposure.share_started_s or place < exposure.previous_share * 2**64:
        return arm, None
    return arm, EvidenceTicket(exposure.share_started_s, place if key else None)


def choose_arm(tenant: str, key: str, share: float, salt: str) -> Arm:
    """Return the arm that answers `key`; `share`, in [0, 1], is the part of all keys that the challenger answers."""
    return "challenger" if hash_key(tenant, key, salt) < share * 2**64 else "champion"


def hash_key(tenant: str, key: str, salt: str) -> int:
    """Return a key's place among all keys: a hash, uniform in [0, 2**64)."""
    text = "\0".join((tenant, salt, key)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big")
