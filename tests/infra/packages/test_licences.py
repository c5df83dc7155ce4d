"""The licences of the installed packages are permitted, and a licence that is not permitted is found."""

import sys
from pathlib import Path

import pytest

from infra.packages.__main__ import main
from infra.packages.licences import LicenceException, Policy, is_permitted, judge_licences, list_unneeded, read_policy


@pytest.mark.parametrize(
    ("licence", "permitted"),
    [
        ("MIT", True),
        ("MIT License", True),
        ("Apache Software License; BSD License", True),
        ("Apache-2.0 OR GPL-2.0-or-later", True),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", True),
        ("Apache-2.0 AND Apache-2.0 WITH LLVM-exception", True),
        ("GPL-3.0-only", False),
        ("MIT AND GPL-3.0-only", False),
        ("MIT License; GNU General Public License v3 (GPLv3)", False),
        ("UNKNOWN", False),
        ("", False),
        ("(", False),
    ],
)
def test_of_a_choice_one_licence_must_be_permitted_and_of_several_together_all(licence: str, permitted: bool) -> None:
    assert is_permitted(licence, read_policy()) == permitted


def test_an_exception_permits_a_package_and_must_be_needed() -> None:
    exceptions = {name: LicenceException(licence="GPL-3.0-only", reason="a test") for name in ("torch", "numpy")}
    policy = Policy(allowed=frozenset({"MIT"}), names={}, exceptions=exceptions)
    packages = [("torch", "1", "GPL-3.0-only"), ("numpy", "1", "MIT"), ("pandas", "1", "X"), ("pytest", "1", "X")]
    judged = judge_licences(packages, policy)
    assert {each.name: each.permitted for each in judged} == {"numpy": True, "pandas": False, "torch": True}
    assert list_unneeded(judged, policy) == ["numpy"]


def test_every_package_that_the_product_runs_with_has_a_permitted_licence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "licences.md"
    assert main(["licences", "--target", str(target)]) == 0, capsys.readouterr().out
    assert "| torch | " in target.read_text(encoding="utf-8")
    assert main(["licences", "--target", str(target), "--python", f"{sys.executable}-none"]) == 2
    assert "fix:" in capsys.readouterr().err
