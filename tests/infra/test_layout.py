"""The tests mirror the code: a test file has the folder and the name of the module or folder that it tests."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MIRRORED = ("components", "flows", "cli", "integrations")
TEST_FILES = sorted(path for top in MIRRORED for path in (ROOT / "tests" / top).rglob("test_*.py"))


@pytest.mark.parametrize("path", TEST_FILES, ids=lambda path: str(path.relative_to(ROOT / "tests")))
def test_a_test_file_is_named_after_a_module_or_folder_beside_it(path: Path) -> None:
    folder = ROOT / path.relative_to(ROOT / "tests").parent
    assert folder.is_dir(), f"no folder {folder.relative_to(ROOT)}: move the test to where its code is"
    words = path.stem.removeprefix("test_").split("_")
    names = ["_".join(words[:count]) for count in range(1, len(words) + 1)]
    found = [name for name in names if (folder / f"{name}.py").is_file() or (folder / name).is_dir()]
    assert found or words[0] == folder.name, (
        f"no module or folder of {folder.relative_to(ROOT)} has one of the names {names}"
    )
