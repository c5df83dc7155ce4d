"""Which versions of a tenant were champion before today's, by its ledger: pure. Knows no registry."""

from collections.abc import Iterable, Sequence

from components.rollout.types import LedgerEntry


def list_former_champions(entries: Iterable[LedgerEntry]) -> Sequence[str]:
    """The champions before today's, the last of them first, from a tenant's lines with the oldest first.

    Those that were rolled back from or withdrawn are left out until they are promoted again; a rollback to one of them
    undoes all that came after it.
    """
    before: list[str] = []
    champion = ""
    refused: set[str] = set()
    for entry in entries:
        if entry.action == "forget":  # who comes back under this name has other versions
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
    found = [version for version in reversed(before) if version not in refused | {"", champion}]
    return list(dict.fromkeys(found))
