"""What policy and store of a rollout both speak of: a tenant's state, its ledger's entries, observations, findings.

Plain values. Knows no database and no decision.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from components.config.rollout import RolloutCheck

Arm = Literal["champion", "challenger"]

TrialMode = Literal["", "canary", "shadow", "manual"]
"""How a challenger is tried; "" where none is."""


class ShareChange(NamedTuple):
    """The beginning of a share."""

    second: int
    """Since 1970, UTC."""
    share: float


@dataclass(frozen=True, kw_only=True)
class RolloutState:
    """One tenant. Versions are "" where there is none; times are seconds since 1970, UTC."""

    tenant: str
    champion: str = ""
    challenger: str = ""
    mode: TrialMode = ""
    step: int = 0
    share: float = 0.0
    """Of the requests: those that the challenger answers (canary), or answers unseen as well (shadow)."""
    started_s: float = 0.0
    step_started_s: float = 0.0
    changes: tuple[ShareChange, ...] = ()
    """All shares of the trial, the one of now last."""
    paused_s: float = 0.0
    """Since when a person has stopped the trial; 0: nobody has."""
    pinned: bool = False

    @property
    def start_minute(self) -> int:
        """Of the trial, since 1970."""
        return int((self.changes[0].second if self.changes else self.started_s) // 60)


@dataclass(frozen=True, slots=True)
class Exposure:
    """How much of a tenant's traffic meets its challenger now."""

    challenger: str
    share: float
    shadow: bool
    previous_share: float = 0.0
    """The share before this one: the keys below it are the challenger's already."""
    share_started_s: int = 0
    """Second since 1970 in which this share began; 0: nobody knows, so that no answer is evidence."""


@dataclass(frozen=True, slots=True)
class EvidenceTicket:
    """Makes the first answer to a key evidence."""

    section: int
    """The stretch of one share in which the key was drawn, by the second since 1970 in which it began."""
    place: int | None
    """Of a key that may come again; None: it comes once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """Counts of one tenant's version in one arm in one minute; those of one request, or of many added up."""

    tenant: str
    version: str
    arm: Arm
    minute: int
    """Whole minutes since 1970, UTC, in which the answers ended (or the feedback came)."""
    section: int = 0
    """0: all answers. Else those that are evidence in the section that began in this second since 1970."""
    requests: int = 0
    errors: int = 0
    """Requests that we failed; not those that the caller got wrong or left."""
    empty: int = 0
    repeated: int = 0
    over_long: int = 0
    tokens: int = 0
    agreed: int = 0
    """Shadow: challenger's answers that are the champion's, word for word."""
    liked: int = 0
    disliked: int = 0
    latencies: Mapping[int, int] = field(default_factory=dict)
    """Bucket -> answers."""


@dataclass(frozen=True, slots=True)
class StepAnswers:
    """All answers of one step, and how many of them we failed to give."""

    challenger: int
    challenger_failed: int = 0
    champion: int = 0
    champion_failed: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was counted in whole strata, and what it says. Evidence of `needed` settles it."""

    check: RolloutCheck
    says: Literal["worse", "fine", "unclear"]
    champion: int
    champion_bad: int
    challenger: int
    challenger_bad: int
    margin: float
    evidence_worse: float
    evidence_fine: float
    needed: float

    @property
    def sentence(self) -> str:
        """For people and the ledger."""
        counted = (
            f"{self.check}: {self.challenger_bad} of {self.challenger} against the champion's "
            f"{self.champion_bad} of {self.champion}"
        )
        return f"{counted} ({self.says}; margin {self.margin:g} on the odds)"

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


LedgerAction = Literal[
    "challenge", "advance", "promote", "rollback", "withdraw", "pause", "resume", "pin", "unpin", "forget"
]


@dataclass(frozen=True, kw_only=True)
class LedgerEntry:
    """One line. Versions are "" where there is none."""

    tenant: str
    by: str
    """A person (`ada@host`), `rollout`, `retrain`, or `mlflow` for a move seen there that nobody told us of."""
    action: LedgerAction
    from_version: str = ""
    to_version: str = ""
    why: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)
    """JSON values."""
    at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
