"""Loading a base prints nothing, whatever the installed packages for quantised bases have to say."""

import subprocess
import sys
from pathlib import Path

from quantized_bases import save_full

CODE = """
import sys
from components.config import BaseConfig
from components.model.base.load import load_base
load_base(BaseConfig(path=sys.argv[1]), device="cpu")
"""


def test_a_process_that_loads_a_base_prints_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CODE, str(save_full(tmp_path))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
