"""The section `retention`: what `prefixfleet prune` keeps."""

from pydantic import Field

from components.config.section import Section


class RetentionConfig(Section):
    """How much of a tenant's past is kept; what serves, is tried or can be rolled back to is kept in any case."""

    versions: int = Field(default=10, ge=1, description="the newest versions of a tenant on each base are kept")
    days: float = Field(default=90.0, ge=0.0, description="versions and runs that are younger are kept")
