"""Every error that PrefixFleet raises for its users, in one tree.

    PrefixFleetError
    ├── ConfigError      params.yaml: unknown key, wrong type, impossible value
    ├── DataError        tenant ids, drops, data files, importers
    ├── BaseModelError   the frozen base: missing, unsupported, not the one that a prefix was trained on
    ├── ArtifactError    prefix files: tampered, truncated
    │   └── SchemaError  written by another version of PrefixFleet
    ├── TrainingError    training cannot continue: loss not finite, example longer than the context
    ├── GateError        reports that cannot be compared
    ├── RegistryError    MLflow: not reachable, no such version or alias
    │   ├── OwnershipError  the tenant's version belongs to another workspace
    │   └── MoveRefusedError  a move of versions that was not offered, or in another situation
    ├── WorkersError     workers or the object storage between machines: no pool, no worker, no rights
    │   └── DamagedError     what the exchange holds is incomplete or altered
    ├── BackupError      backups: none there, damaged, of a newer release, of another fleet
    └── WorkspaceError   files and tools around a run: disk full, DVC remote missing
        └── LockHeldError  another process holds a lock

Each message has three parts: what was expected, what was found instead, and how to fix it.
Commands turn any of these into exit code 2.
"""


class PrefixFleetError(Exception):
    """A problem that the user can solve: what was expected, what was found instead, and how to fix it."""

    def __init__(self, wanted: str, got: str, fix: str) -> None:
        """Keep the three parts as attributes, so that each caller can format them."""
        self.wanted = wanted
        self.got = got
        self.fix = fix
        super().__init__(wanted, got, fix)

    def __str__(self) -> str:
        return f"wanted {self.wanted}; got {self.got}; {self.fix}"

    def to_json(self) -> list[str]:
        """Return the kind and the three parts, for a message to another process."""
        return [type(self).__name__, self.wanted, self.got, self.fix]


class ConfigError(PrefixFleetError):
    """params.yaml holds an unknown key, a wrong type or an impossible value."""


class DataError(PrefixFleetError):
    """A tenant id, a drop, a data file or an importer's input does not match its schema."""


class BaseModelError(PrefixFleetError):
    """The base is missing, unsupported, or not the one that a prefix was trained on."""


class ArtifactError(PrefixFleetError):
    """Prefix files are tampered with, truncated, missing or of an unknown schema."""


class SchemaError(ArtifactError):
    """An artifact is intact, but this version of PrefixFleet cannot read its schema."""


class TrainingError(PrefixFleetError):
    """Training cannot continue."""


class GateError(PrefixFleetError):
    """Two reports cannot be compared."""


class RegistryError(PrefixFleetError):
    """MLflow cannot be reached, or holds no such version or alias."""


class OwnershipError(RegistryError):
    """A version in MLflow belongs to another workspace."""


class MoveRefusedError(RegistryError):
    """A move of a tenant's versions was not offered, or was offered in another situation."""


class WorkersError(PrefixFleetError):
    """Workers cannot train: no such pool, no worker comes, or the object storage between machines fails."""


class DamagedError(WorkersError):
    """A set of files or a value in the exchange is incomplete or altered: treat it as absent."""


class BackupError(PrefixFleetError):
    """There is no such backup, or it is damaged, of a newer release or of another fleet."""


class WorkspaceError(PrefixFleetError):
    """A file or tool that a run needs is not usable: lock held, disk full, DVC remote missing."""


class LockHeldError(WorkspaceError):
    """Another process holds a lock."""


def read_error(values: list[str]) -> PrefixFleetError:
    """Return the error whose `to_json` another process has sent; it must be one of this module's."""
    kind, *parts = values
    problem: PrefixFleetError = globals()[kind](*parts)
    return problem
