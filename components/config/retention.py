"""The section `retention`: what `prefixfleet prune` keeps."""

from typing import Literal

from pydantic import Field

from components.config.section import Section


class RetentionConfig(Section):
    """How much of a tenant's past is kept; what serves, is tried or can be rolled back to is kept in any case."""

    versions: int = Field(default=10, ge=1, description="the newest versions of a tenant on each base are kept")
    days: float = Field(default=90.0, ge=0.0, description="versions, runs and objects of DVC that are younger stay")
    predictions_days: float | None = Field(
        default=None,
        ge=0.0,
        description="days after which a version that cannot serve any more loses its run's predictions; null: they "
        "stay as long as the version",
    )
    dvc_objects: Literal["keep", "cache", "remote"] = Field(
        default="keep",
        description="where DVC's objects are removed that nothing needs: keep: nowhere; cache: in the cache in the "
        "workspace; remote: also in the default remote, which must be this workspace's alone",
    )
    history_days: float | None = Field(
        default=None,
        ge=1.0,
        description="days after which the records of nights (page Nights), the events of fine-tuning jobs and rejected "
        "lines in quarantine/ are removed; null: they stay",
    )
    usage_days: int | None = Field(
        default=None, ge=62, description="days after which a tenant's usage of serving is kept by month; null: by day"
    )
