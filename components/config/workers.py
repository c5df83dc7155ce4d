"""The section `workers`: on which machines the shards of a retraining are trained, and what happens if one fails."""

from typing import Literal

from pydantic import Field

from components.config.section import Section

ResourceClass = Literal["cpu", "gpu"]


def _make_default_pools() -> dict[ResourceClass, str]:
    return {"cpu": "default", "gpu": "gpu"}


class WorkersConfig(Section):
    """Without this section a run trains everything in its own process."""

    pools: dict[ResourceClass, str] = Field(
        default_factory=_make_default_pools,
        description="Prefect work pool per resource class: gpu trains shards, cpu runs the flows that plan and gate",
    )
    exchange: str = Field(
        min_length=1,
        description="URL of a folder in object storage that parent and workers share: s3://, gs://, or file:// on one "
        "machine; no credentials in it",
    )
    max_shards: int = Field(default=8, gt=0, description="shards that are sent at the same time")
    target_minutes: float = Field(default=20.0, gt=0, description="estimated training time of one shard")
    tries: int = Field(
        default=2, gt=0, description="workers that one shard may end by force before it is split into smaller ones"
    )
    start_minutes: float = Field(default=10.0, gt=0, description="deadline for a worker to take the first shard")
    lost_seconds: float = Field(
        default=180.0, ge=1, description="a worker that reports nothing for this long is given up"
    )
    keep_days: float = Field(default=3.0, ge=0, description="days after which files of ended runs are removed")
    fallback: Literal["fail", "here"] = Field(
        default="fail", description="if no worker takes a shard: fail, or train here"
    )
