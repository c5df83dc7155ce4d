"""Write a tenant's override file, overrides/<tenant>.yaml, which `prefixfleet tune` owns.

Knows the file; does not know what the values are for.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.config import TrainConfig, load_workspace_params
from components.config.overrides import read_override_file
from components.config.yaml_file import format_yaml
from components.errors import WorkspaceError
from components.stages.workspace import Workspace
from components.storage.atomic_files import remove_temporaries, write_atomic

_SECTION = "train"
_HEADER = """\
# Written by `prefixfleet tune`, which owns this file and replaces it whole.
# These values win over the section `train` and over tenants.{tenant}.train of params.yaml.
# To go back to the values of params.yaml, remove this file.
"""


def format_override(values: Mapping[str, Any]) -> str:
    """Return the values as one line of YAML, as they could be typed into params.yaml."""
    inner = format_yaml(dict(values), default_flow_style=True, width=10**6)
    return f"{_SECTION}: {inner.strip()}"


def check_writable(file: Path) -> None:
    """Check, before a long search, that a tenant's override file can be written at its end.

    Raises:
        WorkspaceError: the file or its folder is read-only.
    """
    for path in (file.parent, file):
        if path.exists() and not path.stat().st_mode & 0o222:
            fix = f"make it writable (`chmod u+w {path}`), or pass --dry-run"
            raise WorkspaceError(f"to write the best values into {file}", f"{path} is read-only", fix)


def write_override(workspace: Workspace, tenant: str, values: Mapping[str, Any], before: TrainConfig) -> Path:
    """Put `values` into the `train` section of the tenant's override file; its other values stay. Returns the file.

    `before` is the tenant's effective training config that the values were compared with.

    Raises:
        WorkspaceError: that config has changed since, the file is read-only, or the disk is full; no file changes.
        ConfigError: params.yaml or an override file has become invalid.
    """
    file = workspace.get_override_file(tenant)
    check_writable(file)
    if load_workspace_params(workspace.root).for_tenant(tenant).train != before:
        got = "the tenant's training values in params.yaml or in that file changed while the trials ran"
        fix = "run the same command again: finished trials are not run again"
        raise WorkspaceError(f"to set {format_override(values)} in {file}", got, fix)
    kept = read_override_file(file).get(_SECTION, {}) if file.exists() else {}
    content = {_SECTION: {**kept, **values}}
    text = _HEADER.format(tenant=tenant) + format_yaml(content)
    remove_temporaries(file)
    write_atomic(file, text.encode("utf-8"))
    return file
