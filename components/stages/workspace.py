"""The workspace: a git and DVC checkout in which a run reads data and leaves its files.

Names every path once, reads params.yaml, opens the base and the registry when somebody asks, and lets one run in at a
time. Does not know what the stages do with any of it.
"""

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from components.config import BaseConfig, Params, load_workspace_params
from components.config.overrides import get_override_path
from components.data.digest_cache import DigestCache
from components.data.digests import read_dataset_version
from components.data.schema import list_tenants
from components.errors import DataError, WorkspaceError
from components.stages.progress import log_warning
from components.storage.atomic_files import hold_file_lock

if TYPE_CHECKING:
    from components.model.base.load import Base
    from components.registry.mlflow.versions import Version
    from components.registry.registry import Registry
    from components.storage.database import Database


class Workspace:
    """The top folder of a checkout and what a stage needs from it; what is costly is opened once, on demand."""

    def __init__(self, root: Path, *, full_check: bool = False) -> None:
        """Open nothing yet. With `full_check` every file is read again, however unchanged it looks."""
        self.root = root.resolve()
        self._full_check = full_check

    @cached_property
    def params(self) -> Params:
        """params.yaml and the override files, read once when this run first asks for them. Raises ConfigError."""
        return load_workspace_params(self.root)

    def get_override_file(self, tenant: str) -> Path:
        """Return overrides/<tenant>.yaml, which `prefixfleet tune` writes; it need not exist."""
        return get_override_path(self.root, tenant)

    @cached_property
    def base_config(self) -> BaseConfig:
        """The base section, with a folder's path made absolute: one of that name elsewhere is never taken for it."""
        config = self.params.base
        folder = self.root / config.path
        local = folder.is_dir() or Path(config.path).is_dir()
        return config.model_copy(update={"path": str(folder)}) if local else config

    @cached_property
    def base(self) -> "Base":
        """The loaded, frozen base. Raises BaseModelError."""
        from components.model.base.load import load_base

        return load_base(self.base_config)

    @cached_property
    def registry(self) -> "Registry":
        """The registry that params.yaml or MLFLOW_TRACKING_URI names. Raises RegistryError when it does not answer."""
        from components.registry.registry import Registry

        return Registry(self.params.registry, self.root)

    @cached_property
    def database(self) -> "Database":
        """The rollout's ledger, standings and observations. Raises WorkspaceError when it does not answer."""
        from components.rollout.store.database import open_database

        return open_database(self.params, self.root)

    @cached_property
    def digests(self) -> DigestCache:
        """The sha256 of files of this workspace, remembered from one run to the next in var/digests."""
        return DigestCache(self.root / "var" / "digests", self.root, full_check=self._full_check)

    def save_digests(self) -> None:
        """Keep today's digests for the next run; a disk that takes none costs it reading, and is told."""
        try:
            self.digests.save()
        except WorkspaceError as problem:
            log_warning(f"digests are not remembered: {problem}")

    @property
    def data(self) -> Path:
        """data/<tenant>/<split>.jsonl, tracked as a whole by data.dvc."""
        return self.root / "data"

    @property
    def dataset_version(self) -> str:
        """The digest in data.dvc. Raises DataError."""
        return read_dataset_version(self.root / "data.dvc")

    @property
    def drops(self) -> Path:
        """Deliveries that wait to be checked: drops/<tenant>/<split>.jsonl."""
        return self.root / self.params.data.drops

    def get_output_folder(self, stage: str, tenant: str | None = None) -> Path:
        """out/<stage>, or a tenant's folder in it."""
        folder = self.root / "out" / stage
        return folder if tenant is None else folder / tenant

    def get_champion_folder(self, champion: "Version") -> Path:
        """Where a champion's files are kept once fetched; named by content, so never out of date."""
        return self.root / "var" / "champions" / (champion.sha256 or f"{champion.tenant}-{champion.version}")

    @property
    def tokens(self) -> Path:
        """Where the tenants' splits are kept as token ids: tokens/<tenant>/<split>.safetensors; only for speed."""
        return self.root / "var" / "tokens"

    @property
    def pictures(self) -> Path:
        """Where pictures of loss curves and scores are drawn."""
        return self.root / "out" / "pictures"

    def list_tenants(self, only: Sequence[str] | None = None) -> list[str]:
        """The tenants that have data, or the named ones of them, sorted.

        Raises:
            DataError: nobody has data, or a named tenant has none.

        """
        known = list_tenants(self.data) if self.data.is_dir() else []
        if not known:
            fix = "take drops in (`prefixfleet data import --help`), or fetch a version (`dvc pull`)"
            raise DataError("at least one tenant's data", f"none in {self.data}", fix)
        present = set(known)
        for tenant in only or ():
            if tenant not in present:
                near = difflib.get_close_matches(tenant, known, n=1)
                fix = (
                    f"did you mean {near[0]!r}?" if near else "import its data first (`prefixfleet data import --help`)"
                )
                raise DataError(f"one of the {len(known)} tenants in {self.data}", f"{tenant!r}", fix)
        return known if only is None else sorted(set(only))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Let one run in at a time. The system frees the lock when its holder dies, however it dies.

        Raises:
            WorkspaceError: another run holds it, whose process is named; or the disk is full.

        """
        with hold_file_lock(self.root / "var" / "lock", self.root, "wait until it ends, or stop it"):
            yield
