"""Whether a package of the lock has a known vulnerability, by pip-audit.

A package that the database does not know counts as not audited: pip-audit itself exits with 0 also if the database
said nothing of any package. Does not know what is installed.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.errors import WorkspaceError
from infra.packages.runtime import LOCK, require_pins

_SHOWN = 5
_FIX = (
    "run it where the database is reached (https://pypi.org/pypi/NAME/VERSION/json), or name another one: "
    "`make audit AUDIT='--vulnerability-service osv --osv-url URL'`"
)


class NotAuditedError(WorkspaceError):
    """The database of vulnerabilities was not reached, or does not know all packages."""


@dataclass(frozen=True)
class Vulnerability:
    """A known vulnerability of a pinned version."""

    package: str
    version: str
    name: str
    fixed_in: tuple[str, ...]


@dataclass(frozen=True)
class Audit:
    """What the database said of the packages that it was asked about."""

    count: int
    found: list[Vulnerability]
    skipped: dict[str, str]
    """Package -> why the database said nothing of it."""


def audit_lock(lock: Path = LOCK, options: Sequence[str] = ()) -> Audit:
    """Ask the database about every line of the lock; `options` are pip-audit's.

    Raises:
        WorkspaceError: the lock cannot be read.
        NotAuditedError: pip-audit gave no report.
    """
    require_pins(lock)
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--no-deps", "--disable-pip"]
    command += ["--format", "json", "--progress-spinner", "off", "--desc", "off", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        report = json.loads(done.stdout)
    except json.JSONDecodeError:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise NotAuditedError("an answer of the database of vulnerabilities", last, _FIX) from None
    return _read_report(report["dependencies"])


def require_complete(audit: Audit) -> None:
    """Refuse an audit that left packages out.

    Raises:
        NotAuditedError: the database said nothing of some packages.
    """
    if not audit.skipped:
        return
    names = sorted(audit.skipped)
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    got = f"none for {len(names)} of {audit.count}: {', '.join(names[:_SHOWN])}{rest} ({audit.skipped[names[0]]})"
    raise NotAuditedError("an answer of the database of vulnerabilities for every package", got, _FIX)


def _read_report(packages: list[dict[str, Any]]) -> Audit:
    skipped = {package["name"]: package["skip_reason"] for package in packages if "skip_reason" in package}
    found = [
        Vulnerability(package["name"], package["version"], each["id"], tuple(each["fix_versions"]))
        for package in packages
        for each in package.get("vulns", [])
    ]
    return Audit(len(packages), found, skipped)
