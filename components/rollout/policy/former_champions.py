"""Finds a tenant's earlier champions in its ledger. Pure. Knows no registry."""

from collections.abc import Iterable, Sequence

from components.rollout.types import LedgerEntry


def list_former_champions(entries: Iterable[LedgerEntry]) -> Sequence[str]:
    """Return the champions before the current one, the latest first, from a tenant's entries in order of time.

    A version that was rolled back or withdrawn is left out until it is promoted again. A rollback to an earlier
    champion removes that champion and all later ones.
    """
    before: list[str] = []
    champion = ""
    refused: set[str] = set()
    for entry in entries:
        if entry.action == "forget":  # a tenant that is added again under this name starts with new versions
            before, champion, refused = [], "", set()
        elif entry.action in ("challenge", "advance"):
            champion = entry.from_version
        elif entry.action in ("promote", "rollback", "withdraw") and entry.to_version != champion:
            before = [*before, entry.from_version]
            refused.discard(entry.to_version)
            if entry.action != "promote":
                refused.add(entry.from_version)
                if entry.to_version in before:
                    before = before[: before.index(entry.to_version)]
            champion = entry.to_version
    former = [version for version in reversed(before) if version not in refused | {"", champion}]
    return list(dict.fromkeys(former))
