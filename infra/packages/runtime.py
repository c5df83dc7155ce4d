"""Which installed packages the product runs with: those of the lock's first section, and what torch's CUDA build adds.

Reads requirements.lock; does not know what is installed.
"""

import re
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from components.errors import WorkspaceError

LOCK = Path(__file__).resolve().parents[2] / "requirements.lock"
_DEVELOP = "# --- develop ---"
_CUDA = re.compile(r"(nvidia|cuda|triton)\b.*")


def read_runtime_pins(lock: Path = LOCK) -> dict[str, str]:
    """Return name -> version of the lock's section `run`; names are in canonical form."""
    return _read_pins(lock.read_text(encoding="utf-8").split(_DEVELOP)[0])


def require_pins(lock: Path) -> None:
    """Refuse a lock that pins nothing.

    Raises:
        WorkspaceError: it cannot be read, or is no list of pinned packages.
    """
    try:
        if not _read_pins(lock.read_text(encoding="utf-8")):
            raise ValueError("no package")
    except (OSError, ValueError) as problem:
        raise WorkspaceError(f"pinned packages in {lock}", str(problem), "name requirements.lock") from None


def _read_pins(text: str) -> dict[str, str]:
    pins = [Requirement(line) for line in text.splitlines() if line and not line.startswith("#")]
    return {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in pins}


def is_runtime(name: str, pins: dict[str, str]) -> bool:
    """Return whether an installed package belongs to the product, not to its development."""
    canonical = canonicalize_name(name)
    return canonical in pins or _CUDA.fullmatch(canonical) is not None
