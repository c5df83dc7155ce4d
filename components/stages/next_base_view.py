"""The workspace as it is for the next base: the same data, registry and database; another base and other results.

While `next_base` is set in params.yaml, tenants move to it one after another. What is trained for it lies in
var/next-base/ until every tenant has moved. Does not know how tenants move.
"""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from components.config import BaseConfig, Params
from components.data.digest_cache import DigestCache
from components.errors import ConfigError
from components.registry.mlflow.versions import BASE_TAG, CHAMPION, Version
from components.stages.base import BASE_FILE
from components.stages.stamps import read_json
from components.stages.workspace import Workspace

RESULTS_FOLDER = "next-base"
"""In var/."""


class NextBaseView(Workspace):
    """A workspace whose base is `next_base`."""

    def __init__(self, current: Workspace) -> None:
        """Open nothing yet.

        Raises:
            ConfigError: params.yaml has no `next_base`.
        """
        super().__init__(current.root)
        if current.params.next_base is None:
            fix = "add next_base: {path: FOLDER} to move the fleet to another base"
            raise ConfigError("the section next_base in params.yaml", "none", fix)
        self._current, self._config = current, current.params.next_base

    @cached_property
    def params(self) -> Params:
        """The parameters with the next base. Raises ConfigError."""
        config, current = self._config, self._current.params
        base = BaseConfig(**{name: getattr(config, name) for name in BaseConfig.model_fields})
        moved = current.model_copy(update={"base": base, "next_base": None})
        moved = moved.override_with({"train": config.train}, where="next_base.train")
        return moved.model_copy(update={"tenants": current.tenants})

    @cached_property
    def digests(self) -> DigestCache:
        """The digests of the present workspace."""
        return self._current.digests

    def get_output_folder(self, stage: str, tenant: str | None = None) -> Path:
        """Return var/next-base/<stage>, or var/next-base/<stage>/<tenant>."""
        folder = self.root / "var" / RESULTS_FOLDER / stage
        return folder if tenant is None else folder / tenant

    @property
    def tokens(self) -> Path:
        """The folder of the splits as ids of the next base's tokenizer."""
        return self.root / "var" / RESULTS_FOLDER / "tokens"


def find_moved_tenants(workspace: Workspace) -> set[str]:
    """Return the tenants that have moved to the next base; none without `next_base` or before the first wave.

    Raises:
        RegistryError: MLflow does not answer.
    """
    if workspace.params.next_base is None:
        return set()
    facts = read_json(NextBaseView(workspace).get_output_folder("base") / BASE_FILE)
    champions = workspace.registry.poll_aliased(CHAMPION)[CHAMPION]
    return find_moved(champions, facts["digest"]) if isinstance(facts, dict) else set()


def find_moved(champions: Mapping[str, Version], base_digest: str) -> set[str]:
    """Return the tenants whose champion is on the base with this digest."""
    return {tenant for tenant, one in champions.items() if one.tags.get(BASE_TAG) == base_digest}
