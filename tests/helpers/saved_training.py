"""Waiting for the checkpoints of a command that trains."""

from pathlib import Path

from processes import StartedCommand
from waiting import wait_until

from components.training.checkpoint import STATE_FILE


def wait_for_trained_steps(root: Path, running: StartedCommand, tenant: str = "alder") -> None:
    """Wait until training has been saved twice: the first checkpoint is written before the first step."""
    running.read_until("starts clean")
    state = root / "out/train" / tenant / "state" / STATE_FILE
    wait_until(state.is_file, "a first checkpoint")
    first = state.read_bytes()
    wait_until(lambda: state.read_bytes() != first, "a second checkpoint")
