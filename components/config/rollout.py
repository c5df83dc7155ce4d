"""The section `rollout`: how a tenant's new version reaches it, and what takes it back. Knows no component."""

from itertools import pairwise
from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from components.config.section import Section

RolloutCheck = Literal["errors", "latency", "empty", "repeated", "over_long", "feedback"]
ShadowCheck = Literal["errors", "empty", "repeated", "over_long"]
"""What can be said of answers that nobody sees, given when there is time for them."""
ROLLOUT_CHECKS: tuple[RolloutCheck, ...] = get_args(RolloutCheck)
SHADOW_CHECKS: tuple[RolloutCheck, ...] = get_args(ShadowCheck)
OddsMargin = Annotated[float, Field(ge=1)]


class StepConfig(Section):
    """One step of a canary, and what must hold before the next one (or, after the last, before it is champion)."""

    share: float = Field(gt=0, le=1, description="of the tenant's users that the challenger answers")
    hours: float = Field(default=0.0, ge=0, description="at least so long")
    min_requests: int = Field(default=0, ge=0, description="that the challenger has answered in this step")
    proven: list[RolloutCheck] = Field(
        default_factory=list, description="checks that must show it no worse than the margin"
    )


class ShadowConfig(Section):
    """A challenger that answers unseen."""

    share: float = Field(default=1.0, gt=0, le=1, description="of the tenant's users that are answered twice")
    hours: float = Field(default=24.0, ge=0)
    min_requests: int = Field(default=100, ge=0)
    proven: list[ShadowCheck] = Field(default_factory=list)
    then: Literal["promote", "wait"] = Field(default="promote", description="wait: for a person")


class MarginsConfig(Section):
    """By check, how much greater the challenger's odds of a bad answer may be than the champion's; null: no check."""

    errors: OddsMargin | None = 1.5
    latency: OddsMargin | None = Field(
        default=1.5, description="bad: slower than nine in ten of the champion's answers"
    )
    empty: OddsMargin | None = 1.5
    repeated: OddsMargin | None = 1.5
    over_long: OddsMargin | None = 1.5
    feedback: OddsMargin | None = Field(default=1.5, description="bad: rated below one half, or corrected")


class RolloutConfig(Section):
    """How a tenant's new version reaches it; `tenants.<id>.rollout` overrides it."""

    policy: Literal["immediate", "canary", "shadow", "manual"] = "immediate"
    steps: list[StepConfig] = Field(
        default_factory=lambda: [
            StepConfig(share=0.05, hours=1.0, min_requests=20),
            StepConfig(share=0.25, hours=2.0, min_requests=100),
            StepConfig(share=1.0),
        ],
        min_length=1,
        description="of a canary, with growing shares",
    )
    shadow: ShadowConfig = ShadowConfig()
    split: Literal["user", "request"] = Field(
        default="user",
        description="user: who names himself keeps his version and is evidence once a step; request: each is drawn",
    )
    deadline_hours: float = Field(default=72.0, gt=0, description="of a whole trial, but for one that waits by policy")
    at_deadline: Literal["promote", "rollback", "wait"] = Field(
        default="rollback", description="what becomes of a trial that has not met its conditions by then"
    )
    false_alarm: float = Field(
        default=0.01, gt=0, lt=0.5, description="chance that a version within all margins is ever taken back"
    )
    margins: MarginsConfig = MarginsConfig()
    broken_after: int | None = Field(
        default=20,
        ge=1,
        description="failed answers in a step from which on a challenger that fails most is taken back, outside of "
        "false_alarm; null: never",
    )
    tolerated: float = Field(
        default=0.01, gt=0, lt=1, description="share of bad answers that is no worse, whatever the champion's"
    )

    @model_validator(mode="after")
    def _check_consistency(self) -> "RolloutConfig":
        if any(later.share <= earlier.share for earlier, later in pairwise(self.steps)):
            raise ValueError("steps with shares that grow")
        proven = [*self.shadow.proven, *(check for step in self.steps for check in step.proven)]
        unmade = [check for check in proven if getattr(self.margins, check) is None]
        if unmade:
            raise ValueError(f"a margin for {unmade[0]}, which a step wants proven")
        return self
