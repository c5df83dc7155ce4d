"""What a pruning removed, or would remove: by tenant in MLflow, and by kind of everything else."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from components.stages.progress import count_nouns


@dataclass(frozen=True, slots=True)
class PrunedTenant:
    """What was removed of a tenant in MLflow, or would be."""

    tenant: str
    versions: tuple[str, ...]
    """Numbers, the oldest first."""
    runs: int
    """Runs in MLflow without a version, such as those of rejected prefixes."""
    size_bytes: int
    """Of all three."""
    predictions: int = 0
    """Versions that stay and whose predictions were removed."""

    @property
    def count(self) -> int:
        """Versions, runs and predictions together."""
        return len(self.versions) + self.runs + self.predictions


@dataclass(frozen=True, slots=True)
class PrunedKind:
    """What was removed of one kind beside MLflow's, or would be."""

    kind: str
    """A noun in the plural."""
    objects: int
    size_bytes: int | None
    """None: rows of a database."""
    tenant: str = ""
    """"": of the whole fleet."""


@dataclass(frozen=True, slots=True)
class PruneResult:
    """What a pruning removed; only what is not nothing."""

    tenants: list[PrunedTenant] = field(default_factory=list)
    kinds: list[PrunedKind] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Versions, runs, predictions, objects and rows together."""
        return sum(one.count for one in self.tenants) + sum(one.objects for one in self.kinds)

    @property
    def size_bytes(self) -> int:
        """Of everything that has a size."""
        return sum(one.size_bytes for one in self.tenants) + sum(one.size_bytes or 0 for one in self.kinds)


def summarize_pruning(result: PruneResult, *, dry_run: bool) -> str:
    """Return the result in one line."""
    if result == PruneResult():
        return "nothing is old enough to be removed"
    tenants = result.tenants
    parts = [
        f"{count_nouns(sum(len(one.versions) for one in tenants), 'version')} and "
        f"{count_nouns(sum(one.runs for one in tenants), 'run')} without a version "
        f"of {count_nouns(len(tenants), 'tenant')}"
    ]
    predictions = sum(one.predictions for one in tenants)
    parts += [f"the predictions of {count_nouns(predictions, 'version')}"] if predictions else []
    parts += [f"{_sum(result.kinds, kind):,} {kind}" for kind in dict.fromkeys(one.kind for one in result.kinds)]
    what = f"{', '.join(parts)}: {result.size_bytes / 1e6:,.1f} MB"
    return f"{what} would be removed" if dry_run else f"{what} removed"


def make_rows(result: PruneResult) -> list[list[str]]:
    """Return tenant, what, how many and bytes of each line of a table."""
    rows = []
    for one in result.tenants:
        parts = [f"versions {', '.join(one.versions)}"] if one.versions else []
        parts += [count_nouns(one.runs, "run") + " without a version"] if one.runs else []
        parts += [f"predictions of {count_nouns(one.predictions, 'version')}"] if one.predictions else []
        rows.append([one.tenant, "; ".join(parts), f"{one.count:,}", f"{one.size_bytes:,}"])
    for other in result.kinds:
        size = "-" if other.size_bytes is None else f"{other.size_bytes:,}"
        rows.append([other.tenant or "-", other.kind, f"{other.objects:,}", size])
    return rows


def _sum(kinds: Sequence[PrunedKind], kind: str) -> int:
    return sum(one.objects for one in kinds if one.kind == kind)
