"""Which installed packages the product runs with: those of the lock's first section, and what torch's CUDA build adds.

Reads requirements.lock; does not know what is installed.
"""

import re
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCK = Path(__file__).resolve().parents[2] / "requirements.lock"
_DEVELOP = "# --- develop ---"
_CUDA = re.compile(r"(nvidia|cuda|triton)\b.*")


def read_runtime_pins(lock: Path = LOCK) -> dict[str, str]:
    """Return name -> version of the lock's section `run`; names are in canonical form."""
    lines = lock.read_text(encoding="utf-8").split(_DEVELOP)[0].splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in pins}


def is_runtime(name: str, pins: dict[str, str]) -> bool:
    """Return whether an installed package belongs to the product, not to its development."""
    canonical = canonicalize_name(name)
    return canonical in pins or _CUDA.fullmatch(canonical) is not None
