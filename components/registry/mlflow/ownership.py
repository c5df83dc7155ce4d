"""Marks versions and runs with the workspace that may change them, and refuses those of another workspace.

A version without a mark (registered by hand, or by an earlier release) belongs to any workspace. Reading and serving
need no ownership.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from components.config import RegistryConfig
from components.errors import OwnershipError
from components.registry.mlflow.runs import RunLog
from components.registry.mlflow.versions import (
    AUTHOR_TAG,
    OWNER_TAG,
    Version,
    call_or_none,
    to_model_name,
)
from components.storage.workspace_identity import WorkspaceIdentity, describe_author, open_identity


class Ownership:
    """The owner of what one workspace writes to MLflow."""

    def __init__(
        self,
        config: RegistryConfig,
        workspace: Path,
        open_client: Callable[[str], AbstractContextManager[Any]],
        find_versions: Callable[[str], list[Version]],
        find_aliased_of_tenant: Callable[[str], list[Version]],
    ) -> None:
        """Read nothing yet; the functions are those of the connection to MLflow and of the registry."""
        self._fleet, self.workspace, self._open_client = config.owner, workspace, open_client
        self._find_versions, self._find_aliased_of_tenant = find_versions, find_aliased_of_tenant

    @cached_property
    def identity(self) -> WorkspaceIdentity:
        """The workspace's identity; it is made at the first access. Raises WorkspaceError."""
        return open_identity(self.workspace)

    @cached_property
    def owner(self) -> str:
        """The owner of new versions: registry.owner in params.yaml, else the workspace's id. Raises WorkspaceError."""
        return self._fleet or self.identity.id

    def make_tags(self) -> dict[str, str]:
        """Return the tags of a new version."""
        return {OWNER_TAG: self.owner, AUTHOR_TAG: describe_author(self.workspace)}

    def mark(self, run_log: RunLog) -> RunLog:
        """Return the log of a run of this workspace."""
        return replace(run_log, tags={**run_log.tags, OWNER_TAG: self.owner})

    def is_foreign(self, version: Version) -> bool:
        """Return whether the version belongs to another workspace. Raises WorkspaceError."""
        return version.owner not in ("", self.owner)

    def check_version(self, version: Version, action: str) -> None:
        """Raise OwnershipError if the version is another workspace's; `action` is an infinitive without "to"."""
        if not self.is_foreign(version):
            return
        tenant, author = version.tenant, version.tags.get(AUTHOR_TAG, "")
        if not author:  # the fleet-wide reading of aliases leaves this tag out
            tags = [one.tags for one in self._find_versions(tenant) if one.version == version.version]
            author = tags[0].get(AUTHOR_TAG, "") if tags else ""
        raise OwnershipError(
            f"to {action}, with versions of this workspace ({self.owner}, {self.workspace})",
            f"version {version.version} of {tenant}, which belongs to workspace {version.owner}"
            + (f" (registered by {author})" if author else ""),
            f"work in that workspace, or take the tenant over with `prefixfleet adopt {tenant}`; if both are checkouts "
            "of one fleet, set registry.owner to one name in both params.yaml",
        )

    def find_own_aliased(self, tenant: str, action: str) -> list[Version]:
        """Return the tenant's champion and challenger, if they exist; up to three calls.

        Raises:
            OwnershipError: one of them is another workspace's.
        """
        versions = self._find_aliased_of_tenant(tenant)
        for version in versions:
            self.check_version(version, action)
        return versions

    def check_tenant(self, tenant: str, action: str) -> None:
        """Raise OwnershipError if any version of the tenant is another workspace's."""
        for version in self._find_versions(tenant):
            self.check_version(version, action)

    def adopt(self, tenant: str) -> list[Version]:
        """Make every foreign version of the tenant this workspace's; return them as they were, newest first."""
        foreign = [version for version in self._find_versions(tenant) if self.is_foreign(version)]
        with self._open_client(f"{tenant} taken over") as client:
            for version in foreign:
                client.set_model_version_tag(to_model_name(tenant), version.version, OWNER_TAG, self.owner)
                if version.run_id and call_or_none(client.get_run, version.run_id) is not None:
                    client.set_tag(version.run_id, OWNER_TAG, self.owner)
        return foreign
