"""Plain values that the rollout's policy and store share: a tenant's state, ledger entries, observations, findings.

Knows no database and no decision.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from components.config.rollout import RolloutCheck

Arm = Literal["champion", "challenger"]

TrialMode = Literal["", "canary", "shadow", "manual"]
"""How a challenger is tried; "": there is no challenger."""


class ShareChange(NamedTuple):
    """A share of the traffic, and when it began."""

    second: int
    """Seconds since 1970, UTC."""
    share: float
    """In [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class RolloutState:
    """The rollout of one tenant. A version of "" is none; times are seconds since 1970, UTC, and 0 is never."""

    tenant: str
    champion: str = ""
    challenger: str = ""
    mode: TrialMode = ""
    step: int = 0
    share: float = 0.0
    """Share of the requests that the challenger answers (canary), or answers in addition, unseen (shadow)."""
    started_s: float = 0.0
    step_started_s: float = 0.0
    changes: tuple[ShareChange, ...] = ()
    """All shares of the trial, in order of time; the last is the current one."""
    paused_s: float = 0.0
    """When the trial was paused; 0: it is not paused."""
    pinned: bool = False
    """Whether the champion stays, whatever version is registered."""

    @property
    def start_minute(self) -> int:
        """Minutes from 1970 to the start of the trial."""
        return int((self.changes[0].second if self.changes else self.started_s) // 60)


@dataclass(frozen=True, slots=True)
class Exposure:
    """The part of a tenant's traffic that its challenger answers now."""

    challenger: str
    """Its version."""
    share: float
    shadow: bool
    """Whether the challenger's answers are computed but not sent."""
    previous_share: float = 0.0
    """The share before this one. Keys below it were the challenger's already, so they give no new evidence."""
    share_started_s: int = 0
    """When this share began, in seconds since 1970; 0: unknown, then no answer is evidence."""


@dataclass(frozen=True, slots=True)
class EvidenceTicket:
    """Permission to count a key's first answer as evidence."""

    section: int
    """The period of one share in which the key was drawn, named by its first second since 1970."""
    place: int | None
    """The key's hash, to count it only once; None: the key belongs to a single request."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """Counts of one version of a tenant in one arm in one minute: of one request, or of many added up."""

    tenant: str
    version: str
    arm: Arm
    minute: int
    """Minutes since 1970, UTC, in which the answers ended or the feedback arrived."""
    section: int = 0
    """0: all answers. Else only evidence, of the section that began in this second since 1970."""
    requests: int = 0
    errors: int = 0
    """Requests that the server failed to answer; invalid and abandoned requests do not count."""
    empty: int = 0
    repeated: int = 0
    over_long: int = 0
    tokens: int = 0
    agreed: int = 0
    """Shadow: the challenger's answers that equal the champion's, word for word."""
    liked: int = 0
    disliked: int = 0
    latencies: Mapping[int, int] = field(default_factory=dict)
    """Bucket of the latency histogram -> answers; `to_latency_bucket` defines the buckets."""


@dataclass(frozen=True, slots=True)
class StepAnswers:
    """Requests of the current step by arm, and how many of them failed."""

    challenger: int
    challenger_failed: int = 0
    champion: int = 0
    champion_failed: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check, with the answers of its complete strata and how many of them were bad."""

    check: RolloutCheck
    says: Literal["worse", "fine", "unclear"]
    """About the challenger; unclear: neither evidence has reached `needed`."""
    champion: int
    champion_bad: int
    challenger: int
    challenger_bad: int
    margin: float
    """Odds ratio up to which the challenger is not worse."""
    evidence_worse: float
    evidence_fine: float
    needed: float
    """Evidence at which the check decides: the number of checks divided by `false_alarm`."""

    @property
    def sentence(self) -> str:
        """The finding in words, for users and the ledger."""
        counted = (
            f"{self.check}: challenger {self.challenger_bad} bad of {self.challenger}, "
            f"champion {self.champion_bad} bad of {self.champion}"
        )
        return f"{counted} ({self.says}; odds ratio margin {self.margin:g})"

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as JSON values."""
        return asdict(self)


LedgerAction = Literal[
    "challenge",
    "advance",
    "promote",
    "rollback",
    "withdraw",
    "pause",
    "resume",
    "pin",
    "unpin",
    "forget",
    "adopt",
    "reject",
    "drift",
    "prune",
    "create-key",
    "revoke-key",
]


KEY_ACTIONS: tuple[LedgerAction, ...] = ("create-key", "revoke-key")
"""Actions on API keys; the others are on a tenant's data and versions."""


@dataclass(frozen=True, kw_only=True)
class LedgerEntry:
    """One line of the ledger: a move of a tenant, a rejection, drifted requests, removed versions, an API key.

    A version of "" is none.
    """

    tenant: str
    """"": all tenants."""
    by: str
    """A user (`ada@host`), `rollout`, `retrain`, `watch`, or `mlflow` for an alias that was moved in MLflow."""
    action: LedgerAction
    from_version: str = ""
    to_version: str = ""
    why: str = ""
    """The reason, as a sentence for users."""
    figures: Mapping[str, Any] = field(default_factory=dict)
    """The numbers behind the decision, as JSON values."""
    at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    origin: str = ""
    """From where a person did it, such as `console from 10.0.0.7`; "": no person did, or an older release wrote it."""
