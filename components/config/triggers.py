"""The section `triggers`: what starts a retraining beside the schedule and a person."""

from typing import Literal

from pydantic import Field

from components.config.section import Section


class ArrivalConfig(Section):
    """New data that arrive start a retraining of the tenants that got them."""

    source: str | None = Field(
        default=None,
        min_length=1,
        description="watched folder or URL with files <tenant>/<split>.jsonl: s3://, gs://, file:// or a path; no "
        "credentials in it; null: the folder data.drops itself",
    )
    quiet_seconds: float = Field(
        default=30.0, ge=0, description="a tenant's files are taken once none of them has changed for this long"
    )


class DriftConfig(Section):
    """Requests that differ from the training data."""

    threshold: float = Field(default=0.2, gt=0, le=1, description="score from which requests count as drifted")
    window_hours: int = Field(
        default=24, gt=0, description="hours of requests that are compared; also, one cause a tenant in this time"
    )
    min_requests: int = Field(default=200, gt=0, description="with fewer requests in the window there is no score")
    action: Literal["event", "retrain"] = Field(
        default="event",
        description="event: a line in the ledger and an event; retrain: also a run, which takes what waits in drops",
    )


class TriggersConfig(Section):
    """What `prefixfleet watch` and the deployment `watch` look for; null: nothing of this kind."""

    arrival: ArrivalConfig | None = Field(default=None, description="retrain when data arrive")
    drift: DriftConfig | None = Field(default=None, description="also lets servers count their inputs")
