"""Finds mount points, which cannot be renamed or removed. Knows no domain."""

import os
import re
from pathlib import Path

MOUNT_TABLE = Path("/proc/self/mountinfo")


def find_mount_point(folder: Path) -> Path | None:
    """Return the first mount point at or below a folder; None if there is none.

    Reads Linux's table, which has bind mounts too; elsewhere only the folder itself is looked at.
    """
    top = os.path.realpath(folder)
    for point in _read_table():
        if point == top or point.startswith(top.rstrip("/") + "/"):
            return Path(point)
    return folder if os.path.ismount(folder) else None


def _read_table() -> list[str]:
    try:
        lines = MOUNT_TABLE.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []
    points = [fields[4] for line in lines if len(fields := line.split(" ")) > 4]
    return sorted(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), point) for point in points)
