"""The registry of prefixes: MLflow runs, versions and aliases, one registered model per tenant.

The entry point of this package. Aliases in MLflow are authoritative and never cached: a champion that is moved in
MLflow's web page is the champion at the next call. Knows no metric and no gate; the caller passes what is written.
"""

import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

from components.config import RegistryConfig
from components.errors import PrefixFleetError
from components.otel.spans import open_span
from components.registry.mlflow import direct_calls, table_versions
from components.registry.mlflow.alias_table import READ_TAGS, find_local_files, read_aliased
from components.registry.mlflow.connection import MlflowConnection
from components.registry.mlflow.fetching import fetch_version
from components.registry.mlflow.ownership import Ownership
from components.registry.mlflow.pruning import (
    StoredRun,
    find_run_file,
    find_stored_runs,
    remove_run_file,
    remove_stored_runs,
)
from components.registry.mlflow.registration import Registration, check_artifact, find_git_revision, write_version
from components.registry.mlflow.removal import check_removable, find_remaining, remove_tenant
from components.registry.mlflow.run_files import RunRecord, read_run, read_run_file
from components.registry.mlflow.runs import MAX_TAG_CHARS, RunLog, clip_tags, open_run, read_curves
from components.registry.mlflow.versions import (
    CHALLENGER,
    CHAMPION,
    DECODING_TAG,
    INPUT_TAG,
    Version,
    call_or_none,
    find_aliased,
    find_aliased_of_tenant,
    find_aliases,
    find_by_alias,
    find_by_sha256,
    find_histories,
    find_sha256s,
    find_versions,
    to_model_name,
)

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "DECODING_TAG",
    "INPUT_TAG",
    "MAX_TAG_CHARS",
    "Registration",
    "Registry",
    "RunLog",
    "Version",
    "read_curves",
]

_Found = TypeVar("_Found")
_Item = TypeVar("_Item")

_SERVER_THREADS = 8  # over HTTP, where a call mostly waits
_DATABASE_THREADS = 4  # one thread writes while another waits for the disk


class Registry:
    """The prefixes of a fleet in one MLflow server or database. Thread-safe.

    Every method raises RegistryError if MLflow cannot be reached within about 10 s, or refuses.
    """

    def __init__(self, config: RegistryConfig, workspace: Path) -> None:
        """Open nothing yet; relative paths (SQLite, base folders) are resolved from `workspace`."""
        self._workspace = workspace.resolve()
        self._connection = MlflowConnection(config, self._workspace)
        self.ownership = Ownership(
            config, self._workspace, self._connection.open_client, self.find_versions, self._find_aliased_of_tenant
        )
        """Which versions this workspace may change."""

    @property
    def uri(self) -> str:
        """MLflow's tracking URI; for a database, also the value of `mlflow server --backend-store-uri`."""
        return self._connection.uri

    def is_foreign(self, version: Version) -> bool:
        """Return whether the version belongs to another workspace; see `ownership`. Raises WorkspaceError."""
        return self.ownership.is_foreign(version)

    def find_champions(self) -> dict[str, Version]:
        """Return tenant -> champion, without tenants that have none."""
        return self.find_aliased(CHAMPION)

    def find_aliased(self, alias: str) -> dict[str, Version]:
        """Return tenant -> version with `alias`, with all tags."""
        wanted = f"every tenant's {alias}"
        return self._find(wanted, table_versions.find_aliased, find_aliased, alias)[alias]

    def poll_aliased(self, *aliases: str, tags: Sequence[str] = READ_TAGS) -> dict[str, dict[str, Version]]:
        """Return alias -> tenant -> version; fast enough to call every other second.

        From MLflow's database (for a server: the one in MLFLOW_BACKEND_STORE_URI) this takes milliseconds for a
        thousand tenants, and versions have only these `tags`. Without a known and reachable database, the server is
        asked once for all aliases, as in `find_aliased`.
        """
        read = partial(read_aliased, tags=tags)
        return self._find(f"every tenant's {' and '.join(aliases)}", read, find_aliased, *aliases)

    def find_local_files(self, alias: str) -> dict[str, Path]:
        """Return tenant -> folder of the files of its version with `alias`; see `alias_table.find_local_files`."""
        return find_local_files(self._connection, alias)

    def find_by_sha256(self, prefixes: Mapping[str, str]) -> dict[str, Version]:
        """Return tenant -> version of the prefix with this sha256, where there is one; in few calls."""
        wanted = "the version of each tenant's prefix"
        return self._find(wanted, table_versions.find_by_sha256, find_by_sha256, prefixes)

    def find_sha256s(self, tenants: Collection[str]) -> dict[str, set[str]]:
        """Return tenant -> sha256s of all its versions, without tenants that have none."""
        return self._find("the prefixes of the tenants", table_versions.find_sha256s, find_sha256s, tenants)

    def find_champion(self, tenant: str) -> Version | None:
        """Return the tenant's champion, or None."""
        wanted = f"the champion of {tenant}"
        return self._find(wanted, table_versions.find_by_alias, find_by_alias, tenant, CHAMPION)

    def find_challenger(self, tenant: str) -> Version | None:
        """Return the tenant's challenger, or None."""
        wanted = f"the challenger of {tenant}"
        return self._find(wanted, table_versions.find_by_alias, find_by_alias, tenant, CHALLENGER)

    def find_aliases(self, tenant: str) -> dict[str, str]:
        """Return alias -> number of the tenant's version with this alias."""
        return self._find(f"the aliases of {tenant}", table_versions.find_aliases, find_aliases, tenant)

    def find_versions(self, tenant: str) -> list[Version]:
        """Return all versions of a tenant, newest first; none for an unknown tenant."""
        return self._find(f"the versions of {tenant}", table_versions.find_versions, find_versions, tenant)

    def find_histories(self, *tags: str) -> dict[str, list[Version]]:
        """Return tenant -> all its versions, oldest first, with only these tags and no aliases."""
        return self._find("every version", table_versions.find_histories, find_histories, *tags)

    def read_run(self, run_id: str) -> RunRecord | None:
        """Return the parameters and loss curves of a run; None: there is no such run."""
        return read_run(self._connection, run_id)

    def read_run_file(self, run_id: str, name: str) -> bytes | None:
        """Return the content of a file among the artifacts of a run, such as report.json; None: there is none."""
        return read_run_file(self._connection, run_id, name)

    def register(
        self,
        tenant: str,
        artifact: Path,
        base_path: str,
        tags: Mapping[str, str],
        run_log: RunLog,
        *,
        decoding: Mapping[str, float] | None = None,
        revision: str | None = None,
        dtype: str = "float32",
    ) -> Version:
        """Make a run and a version from an artifact folder; sets no alias.

        The version contains the prefix and its manifest, and names the base by absolute folder or hub id. Its tags are
        `tags`, fields of the manifest, the git revision and the run's metrics (`metric.<name>`). `decoding` overrides
        the defaults of predict's params. Idempotent: an artifact that is already registered (same fingerprint and
        sha256) gets no second version, only new tags.

        Raises:
            ArtifactError: the folder fails a check, or is another tenant's.
        """
        one = Registration(
            tenant=tenant,
            artifact=artifact,
            base_path=base_path,
            tags=tags,
            run_log=run_log,
            decoding=decoding or {},
            revision=revision,
            dtype=dtype,
        )
        return self._register(one)

    def register_all(self, registrations: Sequence[Registration]) -> dict[str, Version | PrefixFleetError]:
        """Register several tenants in threads and set their aliases; return tenant -> its version or its error."""
        with self._connection.open_client("a connection to register a fleet"):
            self._connection.ensure_store()
            results = self.run_in_threads(self._try_register, registrations)
            return {one.tenant: result for one, result in zip(registrations, results, strict=True)}

    def run_in_threads(self, work: Callable[[_Item], _Found], items: Iterable[_Item]) -> list[_Found]:
        """Return the results of calls that mostly wait for MLflow, in the order of `items`.

        Each call has the context variables of the caller. The first exception in this order is raised; calls that have
        not begun then do not begin.
        """
        pairs = [(copy_context(), item) for item in items]
        with ThreadPoolExecutor(_SERVER_THREADS if self._connection.is_server else _DATABASE_THREADS) as threads:
            return list(threads.map(lambda pair: pair[0].run(work, pair[1]), pairs))

    def log_run(self, tenant: str, run_log: RunLog) -> str:
        """Log a run without a version, for a rejected prefix; return the run's id."""
        with (
            self._connection.open_client(f"a logged run of {tenant}") as client,
            tempfile.TemporaryDirectory(prefix="prefixfleet-") as scratch,
            open_run(
                client, self._connection.ensure_store(), tenant, self.ownership.mark(run_log), Path(scratch)
            ) as run,
        ):
            return str(run.info.run_id)

    def set_alias(self, tenant: str, alias: str, version: str) -> None:
        """Set an alias on a version; it is removed from any other version."""
        with self._connection.open_client(f"the alias {alias} on version {version} of {tenant}") as client:
            direct_calls.set_alias(client, to_model_name(tenant), alias, str(version))

    def delete_alias(self, tenant: str, alias: str) -> None:
        """Delete an alias; no error if it does not exist."""
        with self._connection.open_client(f"the alias {alias} of {tenant} deleted") as client:
            call_or_none(client.delete_registered_model_alias, to_model_name(tenant), alias)

    def set_tags(self, version: Version, tags: Mapping[str, str]) -> None:
        """Add or change tags of a version, one call per tag."""
        with self._connection.open_client(f"tags on version {version.version} of {version.tenant}") as client:
            for key, value in clip_tags(tags).items():
                direct_calls.set_version_tag(client, to_model_name(version.tenant), version.version, key, value)

    def fetch(self, version: Version, folder: Path) -> Path:
        """Download a version's prefix and manifest into `folder`, check them against its sha256, and return `folder`.

        If `folder` already has them, no call is made.

        Raises:
            ArtifactError: MLflow's artifact store answers, but lacks the registered files or has others.
            RegistryError: the store does not answer, or is empty; this may take up to a minute.
            WorkspaceError: the disk is full.
        """
        return fetch_version(self._connection, version, folder)

    def remove(self, tenant: str) -> None:
        """Delete a tenant's versions, runs and artifacts permanently, as far as MLflow allows; see `find_remaining`.

        Raises as `check_removable`, and then deletes nothing.
        """
        remove_tenant(self._connection, self.ownership, tenant)

    def check_removable(self, tenant: str) -> None:
        """Raise OwnershipError if a version or run is foreign, RegistryError if files are outside of the store."""
        check_removable(self._connection, self.ownership, tenant)

    def find_remaining(self, tenant: str) -> list[str]:
        """Return descriptions of everything of a tenant in MLflow; empty after `remove`, except for hidden runs."""
        return find_remaining(self._connection, tenant)

    def find_stored_runs(
        self, tenant: str, removable: Sequence[Version], kept_runs: set[str], before_s: float
    ) -> list[StoredRun]:
        """Return the runs of removable versions, and old runs without a version; see `pruning.find_stored_runs`."""
        return find_stored_runs(self._connection, tenant, removable, kept_runs, before_s)

    def remove_stored_runs(self, tenant: str, runs: Sequence[StoredRun]) -> None:
        """Delete runs with their versions and artifacts; see `pruning.remove_stored_runs`."""
        remove_stored_runs(self._connection, self.ownership, tenant, runs)

    def find_run_file(self, run_id: str, name: str) -> int | None:
        """Return the size in bytes of a file among the artifacts of a run; None: there is none."""
        return find_run_file(self._connection, run_id, name)

    def remove_run_file(self, tenant: str, run_id: str, name: str) -> None:
        """Delete a file among the artifacts of a tenant's run; see `pruning.remove_run_file`."""
        remove_run_file(self._connection, self.ownership, tenant, run_id, name)

    def _find_aliased_of_tenant(self, tenant: str) -> list[Version]:
        wanted = f"the champion and the challenger of {tenant}"
        return self._find(wanted, table_versions.find_aliased_of_tenant, find_aliased_of_tenant, tenant)

    def _find(
        self, wanted: str, from_tables: Callable[..., _Found], from_client: Callable[..., _Found], *arguments: Any
    ) -> _Found:
        """Read MLflow's database directly if it is known, which saves the import of MLflow; otherwise ask MLflow."""
        found = self._connection.read_database(wanted, lambda connection: [from_tables(connection, *arguments)])
        if found is not None:
            return found[0]
        with self._connection.open_client(wanted) as client:
            return from_client(client, *arguments)

    @cached_property
    def _git_revision(self) -> str | None:
        return find_git_revision(self._workspace)

    def _register(self, registration: Registration) -> Version:
        manifest = check_artifact(registration)
        with self._connection.open_client(f"a registered version of {registration.tenant}") as client:
            return write_version(
                client, self._connection.ensure_store(), self.ownership, registration, manifest, self._git_revision
            )

    def _try_register(self, registration: Registration) -> Version | PrefixFleetError:
        try:
            with open_span("register tenant", tenant=registration.tenant) as span:
                version = self._register(registration)
                span.set(version=version.version)
                if registration.alias:
                    self.set_alias(registration.tenant, registration.alias, version.version)
        except PrefixFleetError as problem:
            return problem
        return version
