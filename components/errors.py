"""Every error that PrefixFleet raises for its users, in one tree.

    PrefixFleetError
    ├── ConfigError      params.yaml: unknown key, wrong type, impossible value
    ├── DataError        tenant ids, drops, data files, importers
    ├── BaseModelError   the frozen base: missing, unsupported, not the one that a prefix was trained on
    ├── ArtifactError    prefix files: tampered, truncated
    │   └── SchemaError  written by another version of PrefixFleet
    ├── TrainingError    a run that cannot go on: loss not finite, example longer than the context
    ├── GateError        reports that cannot be compared
    ├── RegistryError    MLflow: not reachable, no such version or alias
    └── WorkspaceError   files and tools around a run: lock held, disk full, DVC remote missing

Each message has three beats: what was wanted, what came, what to do.
Commands turn any of these into exit code 2.
"""


class PrefixFleetError(Exception):
    """A problem that the user can solve, told as what was wanted, what came and what to do."""

    def __init__(self, wanted: str, got: str, fix: str) -> None:
        """Keep the three beats apart, so that a door can lay them out as it likes."""
        self.wanted = wanted
        self.got = got
        self.fix = fix
        super().__init__(wanted, got, fix)

    def __str__(self) -> str:
        return f"wanted {self.wanted}; got {self.got}; {self.fix}"


class ConfigError(PrefixFleetError):
    """params.yaml holds an unknown key, a wrong type or an impossible value."""


class DataError(PrefixFleetError):
    """A tenant id, a drop, a data file or an importer's input is not as the schema says."""


class BaseModelError(PrefixFleetError):
    """The base is missing, unsupported, or not the one that a prefix was trained on."""


class ArtifactError(PrefixFleetError):
    """Prefix files are tampered with, truncated or of an unknown schema."""


class SchemaError(ArtifactError):
    """An artifact is whole, but of a schema that this PrefixFleet does not read."""


class TrainingError(PrefixFleetError):
    """A training run cannot go on."""


class GateError(PrefixFleetError):
    """Two reports cannot be compared."""


class RegistryError(PrefixFleetError):
    """MLflow cannot be reached, or holds no such version or alias."""


class WorkspaceError(PrefixFleetError):
    """The files and tools around a run are not as needed: lock, disk, DVC remote."""
