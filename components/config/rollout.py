"""The section `rollout`: how a new version replaces a tenant's champion, and when it is rolled back."""

from itertools import pairwise
from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from components.config.section import Section

RolloutCheck = Literal["errors", "latency", "empty", "repeated", "over_long", "feedback"]
ShadowCheck = Literal["errors", "empty", "repeated", "over_long"]
"""Checks on shadow answers: these have no feedback, and their latency means nothing, as they run at low priority."""
ROLLOUT_CHECKS: tuple[RolloutCheck, ...] = get_args(RolloutCheck)
SHADOW_CHECKS: tuple[RolloutCheck, ...] = get_args(ShadowCheck)
OddsMargin = Annotated[float, Field(ge=1)]


class StepConfig(Section):
    """One step of a canary: its share, and the conditions for the next step (after the last: for promotion)."""

    share: float = Field(gt=0, le=1, description="share of the tenant's users that the challenger answers")
    hours: float = Field(default=0.0, ge=0, description="minimum duration")
    min_requests: int = Field(default=0, ge=0, description="minimum of the challenger's answers in this step")
    proven: list[RolloutCheck] = Field(
        default_factory=list, description="checks that must show the challenger within its margin"
    )


class ShadowConfig(Section):
    """A challenger whose answers are compared and never sent."""

    share: float = Field(default=1.0, gt=0, le=1, description="share of users answered by both versions")
    hours: float = Field(default=24.0, ge=0, description="minimum duration")
    min_requests: int = Field(default=100, ge=0, description="minimum of compared answers")
    proven: list[ShadowCheck] = Field(
        default_factory=list, description="checks that must show the challenger within its margin"
    )
    then: Literal["promote", "wait"] = Field(default="promote", description="wait: until someone promotes it by hand")


class MarginsConfig(Section):
    """Per check: the largest allowed ratio of the challenger's odds of a bad answer to the champion's; null: off."""

    errors: OddsMargin | None = Field(default=1.5, description="bad: no answer because of an error")
    latency: OddsMargin | None = Field(default=1.5, description="bad: slower than 90 % of the champion's answers")
    empty: OddsMargin | None = Field(default=1.5, description="bad: an answer without text")
    repeated: OddsMargin | None = Field(default=1.5, description="bad: an answer that repeats itself")
    over_long: OddsMargin | None = Field(default=1.5, description="bad: an answer that is cut at its largest length")
    feedback: OddsMargin | None = Field(default=1.5, description="bad: rated below one half, or corrected")


class RolloutConfig(Section):
    """How a new version replaces a tenant's champion; `tenants.<id>.rollout` overrides it."""

    policy: Literal["immediate", "canary", "shadow", "manual"] = Field(
        default="immediate",
        description="immediate: no trial; canary: a growing share of users; shadow: unseen answers; manual: by hand",
    )
    steps: list[StepConfig] = Field(
        default_factory=lambda: [
            StepConfig(share=0.05, hours=1.0, min_requests=20),
            StepConfig(share=0.25, hours=2.0, min_requests=100),
            StepConfig(share=1.0),
        ],
        min_length=1,
        description="steps of a canary, with growing shares",
    )
    shadow: ShadowConfig = Field(default=ShadowConfig(), description="the trial of policy shadow")
    split: Literal["user", "request"] = Field(
        default="user",
        description="user: a named user keeps one version and counts once per step; request: drawn per request",
    )
    deadline_hours: float = Field(
        default=72.0, gt=0, description="of a whole trial; does not end one that waits by policy"
    )
    at_deadline: Literal["promote", "rollback", "wait"] = Field(
        default="rollback", description="outcome of a trial that has not met its conditions by the deadline"
    )
    false_alarm: float = Field(
        default=0.01, gt=0, lt=0.5, description="probability that a version within all margins is rolled back"
    )
    margins: MarginsConfig = Field(default=MarginsConfig(), description="how much worse a challenger may be")
    broken_after: int | None = Field(
        default=20,
        ge=1,
        description="number of failed answers in a step at which a challenger that fails most of its answers is "
        "rolled back, independently of false_alarm; null: never",
    )
    tolerated: float = Field(
        default=0.01, gt=0, lt=1, description="share of bad answers that always passes, whatever the champion's"
    )

    @model_validator(mode="after")
    def _check_consistency(self) -> "RolloutConfig":
        if any(later.share <= earlier.share for earlier, later in pairwise(self.steps)):
            raise ValueError("steps with growing shares")
        proven = [*self.shadow.proven, *(check for step in self.steps for check in step.proven)]
        without_margin = [check for check in proven if getattr(self.margins, check) is None]
        if without_margin:
            raise ValueError(f"a margin for {without_margin[0]}, which `proven` lists")
        return self
