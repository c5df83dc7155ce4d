"""Many forks of a small process that has imported a script's modules: forking the process of the tests takes longer."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

_HELPERS = Path(__file__).parent
_FORKS = """
import os, sys
for line in sys.stdin:
    command, *arguments = line.split()
    if command == "wait":
        print(os.waitstatus_to_exitcode(os.waitpid(int(arguments[0]), 0)[1]), flush=True)
    elif child := os.fork():
        print(child, flush=True)
    else:
        run(*arguments)
        os._exit(0)
"""


class ScriptForks:
    """A process with a script; its function `run` runs in forks of it."""

    def __init__(self, script: str) -> None:
        path = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(_HELPERS.parents[1]), str(_HELPERS)])
        self._process = subprocess.Popen(
            [sys.executable, "-c", script + _FORKS],
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )

    def start(self, *arguments: str) -> Callable[[], int]:
        """Start `run` with these arguments, without spaces; returns a function that waits for its exit status."""
        child = self._send(" ".join(("fork", *arguments)))
        return lambda: self._send(f"wait {child}")

    def end(self) -> None:
        """End the process."""
        self._process.communicate()

    def _send(self, line: str) -> int:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())
