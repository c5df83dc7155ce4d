"""Where the console's facts are: a workspace's files or, without a workspace, MLflow and the rollout's database alone.

Knows how to open them; does not know what is read.
"""

import os
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from components.config import PARAMS_FILE, Params, RegistryConfig, load_workspace_params
from components.config.console import ConsoleConfig
from components.console.refusals import describe_silence
from components.errors import ConfigError, PrefixFleetError
from components.rollout.store.database import find_database_url, open_database_url
from components.stages.workspace import Workspace, require_workspace
from components.storage.urls import TRACKING_URI_VARIABLE

if TYPE_CHECKING:
    from components.registry.registry import Registry
    from components.storage.database import Database

SERVER_KEY_VARIABLE = "PREFIXFLEET_SERVER_KEY"
"""Environment variable with the admin key that the console shows to the server."""
_SERVER_SECONDS = 5.0


class Sources:
    """What the pages read. The workspace's parameters are read again with `reload`."""

    def __init__(
        self,
        root: Path,
        registry: "Registry",
        database: "Database",
        workspace: Workspace | None,
        read_metrics: Callable[[], str] | None,
    ) -> None:
        """`read_metrics` returns the server's metrics as text, or raises PrefixFleetError; None: no server."""
        self.root, self.registry, self.database = root, registry, database
        self.read_metrics = read_metrics
        self._workspace = workspace

    @property
    def workspace(self) -> Workspace | None:
        """The workspace; None: the console runs without one."""
        return self._workspace

    def reload(self) -> None:
        """Read params.yaml again. Raises ConfigError, and keeps the parameters that were read before."""
        if self._workspace is not None:
            fresh = Workspace(self.root)
            fresh.params = load_workspace_params(self.root)
            fresh.registry, fresh.database = self.registry, self.database
            self._workspace = fresh


def open_sources(root: Path, config: ConsoleConfig, params: Params | None) -> Sources:
    """Open the sources of a console process; `params` are those of the workspace, None without one.

    Raises:
        RegistryError: MLflow's address cannot be used.
        WorkspaceError: the database does not answer.
    """
    from components.registry.registry import Registry

    own = params.registry if params else RegistryConfig()
    registry, database = Registry(own, root), open_database_url(find_database_url(own, root))
    read_metrics = make_metrics_reader(config.server) if config.server else None
    sources = Sources(root, registry, database, Workspace(root) if params else None, read_metrics)
    sources.reload()
    return sources


def load_params_or_none(root: Path) -> Params | None:
    """Return the parameters of a workspace; None for a folder without one, if MLflow's address is in the environment.

    Raises:
        ConfigError: params.yaml is invalid.
        WorkspaceError: there is neither.
    """
    if not (root / PARAMS_FILE).exists() and os.environ.get(TRACKING_URI_VARIABLE):
        return None
    require_workspace(root)
    return load_workspace_params(root)


def make_metrics_reader(server: str) -> Callable[[], str]:
    """Return a function that reads the metrics of a server.

    Raises:
        ConfigError: not a URL of HTTP. The function raises it if the server does not answer, or refuses.
    """
    if not server.startswith(("http://", "https://")):
        raise ConfigError("the server's URL, such as http://127.0.0.1:8000", repr(server), "correct console.server")
    key = os.environ.get(SERVER_KEY_VARIABLE, "")
    headers = {"authorization": f"Bearer {key}"} if key else {}

    def read() -> str:
        request = urllib.request.Request(f"{server.rstrip('/')}/metrics", headers=headers)  # noqa: S310 - HTTP, above
        try:
            with urllib.request.urlopen(request, timeout=_SERVER_SECONDS) as answer:  # noqa: S310
                return str(answer.read().decode())
        except urllib.error.HTTPError as problem:
            fix = f"set {SERVER_KEY_VARIABLE} to an admin's key"
            raise _make_server_error(server, f"status {problem.code}", fix) from None
        except (OSError, ValueError) as problem:
            raise _make_server_error(server, describe_silence(problem), "start it, or correct console.server") from None

    return read


def _make_server_error(server: str, got: str, fix: str) -> PrefixFleetError:
    return ConfigError(f"the metrics of the server at {server}", got, fix)
