"""The version of the code: equal for equal sources, another for any changed, added or renamed source file."""

import shutil
from pathlib import Path

from components.stages.sharding.code_version import compute_code_version, read_code_version

PROJECT = Path(__file__).parents[4]


def write_packages(root):
    for package in ("cli", "components", "flows"):
        (root / package / "inner").mkdir(parents=True)
        (root / package / "__init__.py").write_text("")
        (root / package / "inner" / "one.py").write_text(f"name = '{package}'\n")
    return root


def test_a_copy_has_the_version_of_the_original_and_every_change_another(tmp_path):
    root = write_packages(tmp_path / "one")
    versions = [compute_code_version(root)]
    copy = shutil.copytree(root, tmp_path / "two")
    (copy / "components" / "__pycache__").mkdir()
    (copy / "components" / "__pycache__" / "one.cpython-311.pyc").write_bytes(b"compiled")
    (copy / "tests").mkdir()
    (copy / "tests" / "test_one.py").write_text("")
    assert compute_code_version(copy) == versions[0]
    (root / "flows" / "inner" / "one.py").write_text("name = 'other'\n")
    versions.append(compute_code_version(root))
    (root / "flows" / "inner" / "one.py").rename(root / "flows" / "inner" / "two.py")
    versions.append(compute_code_version(root))
    (root / "cli" / "added.py").write_text("")
    versions.append(compute_code_version(root))
    assert len(set(versions)) == 4
    assert all(len(version) == 12 and int(version, 16) >= 0 for version in versions)


def test_the_version_is_that_of_the_packages_in_use():
    assert read_code_version() == compute_code_version(PROJECT)
