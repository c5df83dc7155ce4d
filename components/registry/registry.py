"""The registry of prefixes: MLflow runs, versions and aliases, one registered model a tenant.

The door to this package. The alias in MLflow is the truth, so nothing is remembered between calls: a champion moved by
hand in MLflow's page is the champion at the next call. Knows no metric and no gate; what it writes is handed in.
"""

import tempfile
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from components.config import RegistryConfig
from components.errors import ArtifactError, PrefixFleetError
from components.registry.artifact import copy_artifact, load_artifact
from components.registry.manifest import MANIFEST_FILE, TENSORS_FILE
from components.registry.mlflow.alias_table import read_aliased
from components.registry.mlflow.connection import MlflowConnection
from components.registry.mlflow.fetching import RESTORE_FIX, download_files, find_source
from components.registry.mlflow.registration import Registration, check_artifact, find_git_revision, write_version
from components.registry.mlflow.removal import find_remaining, remove_tenant
from components.registry.mlflow.runs import RunLog, clip_tags, open_run, read_curves
from components.registry.mlflow.versions import (
    CHALLENGER,
    CHAMPION,
    Version,
    call_or_none,
    find_aliased,
    find_aliases,
    find_by_alias,
    find_by_sha256,
    find_sha256s,
    find_versions,
    to_model_name,
)

__all__ = ["CHALLENGER", "CHAMPION", "Registration", "Registry", "RunLog", "Version", "read_curves"]

_SERVER_THREADS = 8  # over HTTP, where a call is mostly waiting
_DATABASE_THREADS = 4  # one writes while another waits for the disk


class Registry:
    """The prefixes of a fleet in one MLflow, a server or a database; may be shared by threads.

    Every method raises RegistryError when MLflow cannot be reached (within about 10 s) or refuses.
    """

    def __init__(self, config: RegistryConfig, workspace: Path) -> None:
        """Open nothing yet; relative paths (sqlite, base folders) are taken from `workspace`."""
        self._workspace = workspace.resolve()
        self._connection = MlflowConnection(config, self._workspace)

    @property
    def uri(self) -> str:
        """MLflow's tracking URI; a database's is what `mlflow server --backend-store-uri` takes."""
        return self._connection.uri

    def find_champions(self) -> dict[str, Version]:
        """Every tenant's champion; tenants without one are left out."""
        return self.find_aliased(CHAMPION)

    def find_aliased(self, alias: str) -> dict[str, Version]:
        """Tenant -> the version that bears `alias`, read in one call a thousand tenants and few more."""
        with self._connection.open_client(f"every tenant's {alias}") as client:
            return find_aliased(client, alias)[alias]

    def poll_aliased(self, *aliases: str) -> dict[str, dict[str, Version]]:
        """Alias -> tenant -> the version that bears it, for who asks every other second.

        From a database, or a server's where MLFLOW_BACKEND_STORE_URI names it, it takes milliseconds for a thousand
        tenants, and versions have the tags of `registry.mlflow.alias_table.TAGS` alone; another server, or one
        whose database does not answer, is asked as by `find_aliased`, for all of them together.
        """
        wanted = f"every tenant's {' and '.join(aliases)}"
        found = self._connection.read_database(wanted, lambda client: read_aliased(client, aliases))
        if found is None:
            with self._connection.open_client(wanted) as client:
                found = find_aliased(client, *aliases)
        return found

    def find_by_sha256(self, prefixes: Mapping[str, str]) -> dict[str, Version]:
        """Tenant -> the version that holds the prefix with this sha256, where there is one; in few calls."""
        with self._connection.open_client("which version holds each tenant's prefix") as client:
            return find_by_sha256(client, prefixes)

    def find_sha256s(self, tenants: Collection[str]) -> dict[str, set[str]]:
        """Tenant -> the sha256s of all its versions, for those that have any; a call 32 tenants."""
        with self._connection.open_client("which prefixes tenants have") as client:
            return find_sha256s(client, tenants)

    def find_champion(self, tenant: str) -> Version | None:
        """The tenant's champion, or None."""
        with self._connection.open_client(f"the champion of {tenant}") as client:
            return find_by_alias(client, tenant, CHAMPION)

    def find_challenger(self, tenant: str) -> Version | None:
        """The tenant's challenger, or None."""
        with self._connection.open_client(f"the challenger of {tenant}") as client:
            return find_by_alias(client, tenant, CHALLENGER)

    def find_aliases(self, tenant: str) -> dict[str, str]:
        """Alias -> the number of the tenant's version that bears it."""
        with self._connection.open_client(f"the aliases of {tenant}") as client:
            return find_aliases(client, tenant)

    def find_versions(self, tenant: str) -> list[Version]:
        """All versions of a tenant, the newest first; none for an unknown tenant."""
        with self._connection.open_client(f"the versions of {tenant}") as client:
            return find_versions(client, tenant)

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
        """Make a run and a version of an artifact folder; gives no alias.

        The version holds the prefix and its manifest; the base is referred to by absolute folder or hub id. To the
        given tags come those that the manifest knows, the git revision and the run's metrics (`metric.<name>`).
        An artifact that is already registered (same fingerprint and sha256) gets its tags renewed and no second
        version, so that a retried step does no harm. `decoding` overrides predict's defaults.

        Raises:
            ArtifactError: the folder does not hold together, or is another tenant's.
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
        """Register a fleet, by several threads; one tenant's trouble is its own result and stops no other."""
        with self._connection.open_client("to register a fleet"):
            self._connection.ensure_experiment()
            with ThreadPoolExecutor(_SERVER_THREADS if self._connection.is_server else _DATABASE_THREADS) as threads:
                results = threads.map(self._try_register, registrations)
                return {one.tenant: result for one, result in zip(registrations, results, strict=True)}

    def log_run(self, tenant: str, run_log: RunLog) -> str:
        """Write a run down without a version, as for a rejected prefix; returns its id."""
        with (
            self._connection.open_client(f"to log a run of {tenant}") as client,
            tempfile.TemporaryDirectory(prefix="prefixfleet-") as scratch,
            open_run(client, self._connection.ensure_experiment(), tenant, run_log, Path(scratch)) as opened,
        ):
            return str(opened.info.run_id)

    def set_alias(self, tenant: str, alias: str, version: str) -> None:
        """Move an alias to a version, from wherever it was."""
        with self._connection.open_client(f"version {version} of {tenant} as {alias}") as client:
            client.set_registered_model_alias(to_model_name(tenant), alias, str(version))

    def delete_alias(self, tenant: str, alias: str) -> None:
        """Take an alias away; one that is not there is no error."""
        with self._connection.open_client(f"no {alias} of {tenant}") as client:
            call_or_none(client.delete_registered_model_alias, to_model_name(tenant), alias)

    def set_tags(self, version: Version, tags: Mapping[str, str]) -> None:
        """Add or change tags of a version, a call each."""
        with self._connection.open_client(f"tags on version {version.version} of {version.tenant}") as client:
            for key, value in clip_tags(tags).items():
                client.set_model_version_tag(to_model_name(version.tenant), version.version, key, value)

    def fetch(self, version: Version, folder: Path) -> Path:
        """Put a version's prefix and manifest into `folder`, checked against the version's sha256, and return it.

        A folder that already holds them costs no call.

        Raises:
            ArtifactError: MLflow's artifact store answers, and does not hold what was registered.
            RegistryError: the store does not answer, or has lost everything; a minute may pass until that is known.
            WorkspaceError: the disk is full.
        """
        with suppress(ArtifactError):
            if version.sha256 and load_artifact(folder, None)[1].sha256 == version.sha256:
                return folder
        wanted = f"the prefix of {version.tenant}, version {version.version}"
        with (
            self._connection.open_client(wanted) as client,
            tempfile.TemporaryDirectory(prefix="prefixfleet-") as scratch,
        ):
            source = find_source(client, version, wanted)
            got = download_files(source, (TENSORS_FILE, MANIFEST_FILE), Path(scratch), self.uri, wanted)
            try:
                found = copy_artifact(got, folder, version.sha256 or None)
            except ArtifactError as problem:
                told = problem.got.replace(scratch, source)
                raise type(problem)(f"{wanted}: {problem.wanted}", told, RESTORE_FIX) from None
        if found.tenant != version.tenant:
            raise ArtifactError(wanted, f"one of {found.tenant}", "register the tenant again")
        return folder

    def remove(self, tenant: str) -> None:
        """Delete a tenant's versions, runs and artifacts for good, as far as MLflow lets us; see `find_remaining`."""
        wanted = f"to remove {tenant}"
        with self._connection.open_client(wanted) as client:
            database = self._connection.open_database_client(wanted)
            remove_tenant(client, database, self._connection.ensure_experiment(), tenant)

    def find_remaining(self, tenant: str) -> list[str]:
        """What MLflow still holds of a tenant, each in words.

        Empty after `remove_tenant`, but for runs behind a server.
        """
        with self._connection.open_client(f"what is left of {tenant}") as client:
            return find_remaining(client, self._connection.ensure_experiment(), tenant)

    @cached_property
    def _git_revision(self) -> str | None:
        return find_git_revision(self._workspace)

    def _register(self, registration: Registration) -> Version:
        manifest = check_artifact(registration)
        with self._connection.open_client(f"to register {registration.tenant}") as client:
            experiment = self._connection.ensure_experiment()
            return write_version(client, experiment, self._workspace, registration, manifest, self._git_revision)

    def _try_register(self, registration: Registration) -> Version | PrefixFleetError:
        try:
            version = self._register(registration)
            if registration.alias:
                self.set_alias(registration.tenant, registration.alias, version.version)
        except PrefixFleetError as problem:
            return problem
        return version
