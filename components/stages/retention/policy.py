"""Which versions of a tenant are no longer needed. Pure: knows no MLflow and no database."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from components.config import RetentionConfig
from components.registry.mlflow.versions import BASE_TAG, Version, read_made_from

_FORMER_CHAMPIONS = 2
_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Uses:
    """What uses a tenant's versions now."""

    numbers: Collection[str] = ()
    """Versions that a state of the rollout or an unfinished move names."""
    former_champions: Sequence[str] = ()
    """The champions before the current one, the latest first: `rollback` returns to them."""
    sha256s: Collection[str] = ()
    """Artifacts from which prefixes in this workspace, or prefixes of other tenants, were made."""


def find_oldest_kept(limits: RetentionConfig, now_s: float) -> float:
    """Return the time since 1970, in seconds, before which versions and runs are old."""
    return now_s - limits.days * _DAY_S


def choose_removable(versions: Sequence[Version], uses: Uses, limits: RetentionConfig, now_s: float) -> list[Version]:
    """Return the versions of one tenant that may be removed, in their order.

    Kept are: versions with an alias; those in `uses`, of the former champions the latest two; the newest
    `limits.versions` of each base; those younger than `limits.days`; versions that PrefixFleet did not register; and
    what a version that is kept for one of these reasons was made from, such as the champion that its training began
    with.
    """
    newest: defaultdict[str, list[Version]] = defaultdict(list)
    for version in sorted(versions, key=lambda one: -int(one.version)):
        newest[version.tags.get(BASE_TAG, "")].append(version)
    kept = {one.version for own in newest.values() for one in own[: limits.versions]}
    existing = {one.version for one in versions}
    kept |= set([number for number in uses.former_champions if number in existing][:_FORMER_CHAMPIONS])
    kept |= set(uses.numbers)
    oldest_s = find_oldest_kept(limits, now_s)
    may_go = [
        one
        for one in versions
        if one.version not in kept
        and not one.aliases
        and not one.fault
        and one.sha256 not in uses.sha256s
        and 0 < one.created_s < oldest_s
    ]
    going = {one.version for one in may_go}
    parents = {sha256 for one in versions if one.version not in going for sha256 in read_made_from(one).values()}
    return [one for one in may_go if one.sha256 not in parents]


def keeps_predictions(version: Version, uses: Uses) -> bool:
    """Return whether the predictions of a version stay as long as it does: those that serve, or may serve again."""
    former = uses.former_champions[:_FORMER_CHAMPIONS]
    return bool(version.aliases) or version.version in uses.numbers or version.version in former
