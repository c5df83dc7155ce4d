"""Trials judged by what serving saw, each anew only when it has grown: a cycle's work stays bounded as they grow old.

A stratum of the tests stays open until it holds 2 % of all answers, so a look at less than 1 % more tells nothing of
use. What has grown most is looked at first; what one cycle has no time for comes in the next. Knows no move.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from components.config.rollout import RolloutConfig
from components.rollout.policy.checks import find
from components.rollout.store.database import Database
from components.rollout.store.findings_cache import Judged, judged, keep, trial_of
from components.rollout.store.trial_totals import Total, evidence, totals
from components.rollout.types import Finding, Standing

_GROWTH = 0.01
_AT_ONCE = 20
"""Trials whose evidence is held in memory together."""
_LOOKING_S = 10.0
"""After which a cycle begins no more looks."""


@dataclass(frozen=True, slots=True)
class Case:
    """A trial, and what is known of it."""

    standing: Standing
    config: RolloutConfig
    total: Total
    judged: Judged | None
    """None: never looked at."""

    @property
    def findings(self) -> Sequence[Finding]:
        """What the evidence was last found to say."""
        return self.judged.findings if self.judged else ()

    @property
    def growth(self) -> float:
        """What was seen since, as a share of all before."""
        if self.judged is None:
            return float("inf")
        return (self.total.seen - self.judged.seen) / max(self.judged.seen, 1)


def cases(
    database: Database,
    trials: Iterable[tuple[Standing, RolloutConfig]],
    until: int,
    clock: Callable[[], float] = time.monotonic,
) -> list[Case]:
    """Every trial with what was seen up to before minute `until`, in the order of tenants. Raises WorkspaceError."""
    in_order = sorted(trials, key=lambda one: one[0].tenant)
    seen, before = totals(database, [standing for standing, _ in in_order], until), judged(database)
    found = {one.tenant: _case(one, config, seen[one.tenant], before.get(one.tenant)) for one, config in in_order}
    due = sorted((case for case in found.values() if case.growth >= _GROWTH), key=lambda case: -case.growth)
    until_s = clock() + _LOOKING_S
    for start in range(0, len(due), _AT_ONCE):
        if clock() > until_s:
            break
        found |= {case.standing.tenant: case for case in look(database, due[start : start + _AT_ONCE], until)}
    return list(found.values())


def look(database: Database, some: Sequence[Case], until: int) -> list[Case]:
    """These cases, judged by all evidence up to before minute `until`, which is kept. Raises WorkspaceError."""
    read = evidence(database, [case.standing for case in some], until)
    looked = []
    for case in some:
        standing = case.standing
        findings = find(case.config, read[standing.tenant], shadow=standing.mode == "shadow")
        found = Judged(standing.tenant, trial_of(standing, case.config), case.total.seen, findings)
        looked.append(replace(case, judged=found))
    keep(database, [case.judged for case in looked if case.judged])
    return looked


def _case(standing: Standing, config: RolloutConfig, total: Total, before: Judged | None) -> Case:
    same = before is not None and before.trial == trial_of(standing, config)
    return Case(standing, config, total, before if same else None)
