"""The section `backup`: where backups of the fleet go, and how many are kept."""

from pydantic import Field

from components.config.section import Section


class BackupConfig(Section):
    """Where `prefixfleet backup` and the deployment `backup` write."""

    target: str | None = Field(
        default=None,
        min_length=1,
        description="folder or URL for this fleet's backups alone: a path, s3://, gs:// or file://; no credentials in "
        "it; null: the deployment `backup` does nothing",
    )
    keep: int | None = Field(default=None, gt=0, description="newest backups that are kept; null: all")
