"""infra/systemd: the units of a machine with several GPUs, checked by systemd itself where it is installed."""

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flows import worker_process

FOLDER = Path(__file__).resolve().parents[2] / "infra" / "systemd"
UNIT = FOLDER / "prefixfleet-worker@.service"
BINARIES = "/opt/prefixfleet/.venv/bin"


def read_unit(path: Path) -> configparser.ConfigParser:
    unit = configparser.ConfigParser(strict=True, interpolation=None)
    unit.optionxform = str
    unit.read(path, encoding="utf-8")
    return unit


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_finds_no_fault(tmp_path):
    for unit in FOLDER.glob("*.[st]*[et]"):
        text = unit.read_text(encoding="utf-8").replace(BINARIES, str(Path(sys.executable).parent))
        (tmp_path / unit.name).write_text(text, encoding="utf-8")
    found = subprocess.run(
        ["systemd-analyze", "verify", "./prefixfleet-worker@0.service", "./prefixfleet-workers.target"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.returncode, found.stderr) == (0, "")


def test_each_instance_has_one_gpu_and_the_target_starts_all():
    unit = read_unit(UNIT)
    assert "--devices %i " in unit["Service"]["ExecStart"]
    assert unit["Unit"]["PartOf"] == unit["Install"]["WantedBy"] == "prefixfleet-workers.target"
    assert (FOLDER / "prefixfleet-workers.target").is_file()


def test_a_stopped_worker_has_time_to_save_and_does_not_run_as_root():
    service = read_unit(UNIT)["Service"]
    assert service["KillMode"] == "mixed"
    assert int(service["TimeoutStopSec"]) > worker_process._STOP_TIMEOUT_S
    assert service["User"] != "root"


def test_the_example_of_settings_holds_no_value_of_a_secret():
    text = (FOLDER / "worker.env.example").read_text(encoding="utf-8")
    secrets = re.findall(r"^#?(\w*(?:KEY|KEY_ID|PASSWORD|AUTH_STRING))=(.*)$", text, flags=re.MULTILINE)
    assert len(secrets) == 4
    assert {value for _, value in secrets} == {""}
