"""Scratch folders: one for each user, removed at the end, and later if its user was killed."""

import subprocess
import sys
from pathlib import Path

import pytest

from components.stages.sharding.scratch_folder import hold_scratch_folder

_HOLD_UNTIL_KILLED = """
import sys, time
from pathlib import Path
from components.stages.sharding.scratch_folder import hold_scratch_folder
with hold_scratch_folder(Path(sys.argv[1]), "killed") as folder:
    (folder / "file").write_text("x")
    print("ready", flush=True)
    time.sleep(600)
"""


def list_home(home):
    return sorted(path.name for path in (home / "scratch").iterdir())


def test_a_folder_is_empty_at_the_start_and_gone_at_the_end_also_after_an_error(tmp_path):
    with hold_scratch_folder(tmp_path, "one") as one, hold_scratch_folder(tmp_path, "one") as other:
        assert one != other
        assert list(one.iterdir()) == list(other.iterdir()) == []
        (one / "inner").mkdir()
    with pytest.raises(RuntimeError), hold_scratch_folder(tmp_path, "one"):
        raise RuntimeError
    assert list_home(tmp_path) == []


def test_a_folder_of_a_killed_process_is_removed_by_the_next_but_not_one_in_use(tmp_path):
    root = Path(__file__).parents[4]
    command = [sys.executable, "-c", _HOLD_UNTIL_KILLED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        with hold_scratch_folder(tmp_path, "other") as folder:
            assert len(list_home(tmp_path)) == 4  # both folders with their locks
            assert folder.is_dir()
        process.kill()
        process.wait()
    assert [name.split("-")[0] for name in list_home(tmp_path)] == ["killed", "killed"]
    with hold_scratch_folder(tmp_path, "next"):
        assert [name.split("-")[0] for name in list_home(tmp_path)] == ["next", "next"]
    assert list_home(tmp_path) == []
