"""Python runs this file at the start of a process whose PYTHONPATH has this folder."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))

from harness.modelled_training import install_on_import

install_on_import()
