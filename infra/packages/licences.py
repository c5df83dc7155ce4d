"""The licences of the packages that the product runs with, and which of them `licences.yaml` does not permit.

Reads an environment by pip-licenses. Of several licences by choice (OR) one must be permitted; of several that hold
together (AND, or a list of classifiers) all.
"""

import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import yaml
from license_expression import ExpressionError, LicenseSymbol, LicenseWithExceptionSymbol, get_spdx_licensing
from packaging.utils import canonicalize_name
from pydantic import BaseModel, ConfigDict

from components.errors import WorkspaceError
from infra.packages.runtime import is_runtime, read_runtime_pins

POLICY = Path(__file__).with_name("licences.yaml")
_SPDX = get_spdx_licensing()


class LicenceException(BaseModel):
    """A package that may be used although its metadata name no permitted licence."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    licence: str
    """What its own files say."""
    reason: str


class Policy(BaseModel):
    """licences.yaml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    allowed: frozenset[str]
    names: dict[str, str]
    exceptions: dict[str, LicenceException]


@dataclass(frozen=True)
class PackageLicence:
    """A package and the licence that its metadata name."""

    name: str
    version: str
    licence: str
    exception: LicenceException | None
    permitted: bool


def read_policy(path: Path = POLICY) -> Policy:
    """Return the policy of a file."""
    return Policy.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))


def read_licences(python: Path) -> list[tuple[str, str, str]]:
    """Return name, version and licence of all packages in an environment.

    Raises:
        WorkspaceError: pip-licenses cannot read the environment.
    """
    command = [sys.executable, "-m", "piplicenses", "--python", str(python), "--from", "mixed", "--format", "json"]
    done = subprocess.run([*command, "--with-system"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        got = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise WorkspaceError(f"the licences of the packages of {python}", got, "install the project: `make setup`")
    return [(each["Name"], each["Version"], each["License"]) for each in json.loads(done.stdout)]


def judge_licences(packages: Iterable[tuple[str, str, str]], policy: Policy) -> list[PackageLicence]:
    """Return the packages that the product runs with, each with whether its licence is permitted."""
    pins = read_runtime_pins()
    judged = []
    for name, version, licence in sorted(packages, key=lambda each: each[0].lower()):
        if not is_runtime(name, pins):
            continue
        by_itself = is_permitted(licence, policy)
        exception = None if by_itself else _find_exception(name, policy)
        judged.append(PackageLicence(name, version, licence, exception, by_itself or exception is not None))
    return judged


def is_permitted(licence: str, policy: Policy) -> bool:
    """Return whether a licence, as a package's metadata write it, is permitted."""
    return all(_is_one_permitted(part.strip(), policy) for part in licence.split(";"))


def list_unneeded(judged: Iterable[PackageLicence], policy: Policy) -> list[str]:
    """Return the exceptions that no package needs; those for a pattern of names are left out."""
    needed = {canonicalize_name(each.name) for each in judged if each.exception is not None}
    return sorted(name for name in policy.exceptions if "*" not in name and name not in needed)


def _is_one_permitted(licence: str, policy: Policy) -> bool:
    text = policy.names.get(licence, licence)
    try:
        tree = _SPDX.parse(text, validate=True)
    except ExpressionError:
        return False
    return tree is not None and _is_tree_permitted(tree, policy.allowed)


def _is_tree_permitted(tree: object, allowed: frozenset[str]) -> bool:
    if isinstance(tree, LicenseSymbol | LicenseWithExceptionSymbol):
        return str(tree) in allowed
    results = [_is_tree_permitted(each, allowed) for each in tree.args]  # type: ignore[attr-defined]
    return any(results) if isinstance(tree, _SPDX.OR) else all(results)


def _find_exception(name: str, policy: Policy) -> LicenceException | None:
    canonical = canonicalize_name(name)
    return next((each for pattern, each in policy.exceptions.items() if fnmatchcase(canonical, pattern)), None)
