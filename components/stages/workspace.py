"""The workspace: a git and DVC checkout in which a run reads data and writes its files.

Defines every path once, reads params.yaml, opens the base, the registry and the database on first use, and holds the
lock that allows one run at a time. Does not know what the stages do.
"""

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from components.config import PARAMS_FILE, BaseConfig, Params, load_workspace_params
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


def require_workspace(root: Path) -> None:
    """Raise WorkspaceError unless the folder has a params.yaml."""
    if not (root / PARAMS_FILE).exists():
        got = f"a folder without {PARAMS_FILE}: {root.resolve()}" if root.is_dir() else f"no folder {root.resolve()}"
        fix = f"run from the workspace's top folder, name it with -C, or make one: `prefixfleet init {root}`"
        raise WorkspaceError(f"a workspace (a folder with {PARAMS_FILE})", got, fix)


class Workspace:
    """The root folder of a checkout, and what stages need from it; the base and the services open on first use."""

    def __init__(self, root: Path, *, full_check: bool = False) -> None:
        """Open nothing yet. `full_check`: read every file again instead of trusting remembered digests.

        Raises:
            WorkspaceError: the folder has no params.yaml.
        """
        require_workspace(root)
        self.root = root.resolve()
        self._full_check = full_check

    @cached_property
    def params(self) -> Params:
        """The content of params.yaml and the override files at the first access. Raises ConfigError."""
        return load_workspace_params(self.root)

    def get_override_file(self, tenant: str) -> Path:
        """Return overrides/<tenant>.yaml, which `prefixfleet tune` writes; it need not exist."""
        return get_override_path(self.root, tenant)

    @cached_property
    def base_config(self) -> BaseConfig:
        """The base section. Local paths are absolute, so that no other folder can be mistaken for them."""
        config = self.params.base
        folder = self.root / config.path
        local = folder.is_dir() or Path(config.path).is_dir()
        absolute = {"path": str(folder)} if local else {}
        if config.chat_template is not None and not config.has_inline_template:
            absolute["chat_template"] = str(self.root / config.chat_template)
        return config.model_copy(update=absolute)

    @cached_property
    def base(self) -> "Base":
        """The frozen base, loaded. Raises BaseModelError."""
        from components.model.base.load import load_base

        return load_base(self.base_config)

    def release_base(self) -> None:
        """Free the base's memory and device; the next access loads it again."""
        self.__dict__.pop("base", None)

    @cached_property
    def registry(self) -> "Registry":
        """The registry in params.yaml or MLFLOW_TRACKING_URI. Raises RegistryError if MLflow does not answer."""
        from components.registry.registry import Registry

        return Registry(self.params.registry, self.root)

    @cached_property
    def database(self) -> "Database":
        """The rollout's ledger, states and observations. Raises WorkspaceError if the database does not answer."""
        from components.rollout.store.database import open_database

        return open_database(self.params.registry, self.root)

    @cached_property
    def digests(self) -> DigestCache:
        """The sha256 of files in this workspace, kept between runs in var/digests."""
        return DigestCache(self.root / "var" / "digests", self.root, full_check=self._full_check)

    def save_digests(self) -> None:
        """Save the digests for the next run. If the disk refuses, log a warning: the next run reads the files again."""
        try:
            self.digests.save()
        except WorkspaceError as problem:
            log_warning(f"digests of files not saved, the next run reads the files again: {problem}")

    @property
    def data(self) -> Path:
        """The folder data, with files <tenant>/<split>.jsonl; data.dvc tracks it as a whole."""
        return self.root / "data"

    @property
    def dataset_version(self) -> str:
        """The digest in data.dvc. Raises DataError."""
        return read_dataset_version(self.root / "data.dvc")

    @property
    def drops(self) -> Path:
        """The folder of deliveries that are not checked yet, with files <tenant>/<split>.jsonl."""
        return self.root / self.params.data.drops

    def get_output_folder(self, stage: str, tenant: str | None = None) -> Path:
        """Return out/<stage>, or out/<stage>/<tenant>."""
        folder = self.root / "out" / stage
        return folder if tenant is None else folder / tenant

    def get_champion_folder(self, champion: "Version") -> Path:
        """Return the folder for a champion's fetched files. Its name is their digest, so it is never out of date."""
        return self.root / "var" / "champions" / (champion.sha256 or f"{champion.tenant}-{champion.version}")

    @property
    def tokens(self) -> Path:
        """The folder of the splits as token ids, <tenant>/<split>.safetensors. A cache: removing it costs only time."""
        return self.root / "var" / "tokens"

    @property
    def pictures(self) -> Path:
        """The folder of the charts of losses and scores."""
        return self.root / "out" / "pictures"

    def list_tenants(self, only: Sequence[str] | None = None) -> list[str]:
        """Return the tenants that have data, sorted; with `only`, the named ones of them.

        Raises:
            DataError: no tenant has data, or a named tenant has none.

        """
        known = list_tenants(self.data) if self.data.is_dir() else []
        if not known:
            fix = "import data (`prefixfleet data import --help`), or fetch a dataset version (`dvc pull`)"
            raise DataError("data of at least one tenant", f"none in {self.data}", fix)
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
        """Hold the workspace's lock, which one run at a time can hold. The system frees it when the process ends.

        Raises:
            WorkspaceError: another run holds the lock (the error names its process), or the disk is full.

        """
        with hold_file_lock(self.root / "var" / "lock", self.root, "wait until that run ends, or stop it"):
            yield
