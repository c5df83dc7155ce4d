"""Override files, overrides/<tenant>.yaml: the training values that `prefixfleet tune` chose for one tenant.

Knows the folder, the file names and which sections a file may have; does not know the keys of a section.
"""

from pathlib import Path
from typing import Any

from components.config.problems import format_value, make_unknown_key_error
from components.config.tenant_id import TENANT_ID
from components.config.yaml_file import read_sections
from components.errors import ConfigError

OVERRIDES_FOLDER = "overrides"
OVERRIDE_SECTIONS = ("train",)
"""`tune` searches training values only; overrides of other sections belong in params.yaml."""
_SUFFIX = ".yaml"


def get_override_path(root: Path, tenant: str) -> Path:
    """Return where a workspace keeps a tenant's override file, whether or not it exists."""
    return root / OVERRIDES_FOLDER / f"{tenant}{_SUFFIX}"


def read_override_files(root: Path) -> dict[Path, dict[str, Any]]:
    """Return file -> section -> values for every override file of a workspace; {} if there is no folder.

    Hidden files (.gitkeep, the temporary file of an interrupted write) are ignored.

    Raises:
        ConfigError: a file is not named <tenant id>.yaml, cannot be read, or has a section that cannot be overridden.
    """
    folder = root / OVERRIDES_FOLDER
    if not folder.exists():
        return {}
    try:
        paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as problem:
        fix = "make it a readable folder, or remove it"
        raise ConfigError("a folder of override files", f"{folder}: {problem.strerror}", fix) from None
    for path in paths:
        if path.suffix != _SUFFIX or not TENANT_ID.fullmatch(path.stem):
            wanted = f"files named TENANT{_SUFFIX} in {folder}, each for a tenant id that is a DNS label"
            raise ConfigError(wanted, format_value(path.name), f"rename or remove {path}")
    return {path: read_override_file(path) for path in paths}


def read_override_file(path: Path) -> dict[str, Any]:
    """Return section -> values of one override file; the values are not checked.

    Raises:
        ConfigError: the file cannot be read, has no sections, or has a section that cannot be overridden.
    """
    fix = "restore it from git, or remove it: the tenant then has the values of params.yaml"
    values = read_sections(path, missing_fix=fix, content_fix=fix)
    for section in values:
        if section not in OVERRIDE_SECTIONS:
            raise make_unknown_key_error(str(section), OVERRIDE_SECTIONS, str(path))
    return values
