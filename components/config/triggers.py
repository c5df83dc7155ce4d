"""The section `triggers`: what starts a retraining beside the schedule and a person."""

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


class TriggersConfig(Section):
    """What `prefixfleet watch` and the deployment `watch` look for; null: nothing of this kind."""

    arrival: ArrivalConfig | None = None
