"""A folder that says what a control group limits, for `components.model.base.free_memory`."""

from pathlib import Path


def write_limits(folder: Path, **values: str) -> Path:
    """Write files such as memory.max, named by memory_max; return the folder."""
    for name, value in values.items():
        (folder / name.replace("_", ".")).write_text(f"{value}\n")
    return folder
