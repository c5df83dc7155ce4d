"""`prefixfleet serve` in a process of its own, its log in a temporary file beside the workspace."""

import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
from forked_process import start_process
from processes import PREFIXFLEET, make_environment
from waiting import LIMIT_S, wait_until


class ServerProcess:
    """A server on any free port."""

    def __init__(
        self,
        root: Path,
        options: Sequence[str],
        environment: Mapping[str, str],
        before: Callable[[], None] | None,
        program: Sequence[str] = (PREFIXFLEET,),
    ) -> None:
        """Start it and wait until it listens. `before` runs in the new process before the command."""
        with tempfile.NamedTemporaryFile(dir=root.parent, prefix="serve-", suffix=".log", delete=False) as log:
            self._log_file = Path(log.name)
            command = [*program, "-C", str(root), "serve", "--port", "0", *options]
            environment = {**make_environment(), **environment}
            self.process: Any = (
                subprocess.Popen(command, stderr=log, env=environment, preexec_fn=before)
                if before
                else start_process(command, Path.cwd(), environment, stderr=log)
            )
        self.url = self.line("serving on ").split("serving on ")[1].split(",")[0]

    def read_log(self) -> str:
        """What it has written to its log."""
        return self._log_file.read_text(encoding="utf-8")

    def line(self, words: str) -> str:
        """The first line of its log with these words, waited for."""

        def find() -> list[str]:
            ended = self.process.poll() is not None
            lines = [line for line in self.read_log().splitlines() if words in line]
            assert lines or not ended, f"the server ended before a line with {words!r}:\n{self.read_log()}"
            return lines

        return wait_until(find, f"a line of the server with {words!r}")[0]

    def wait_ready(self) -> None:
        """Wait until it can answer."""
        self.line("is loaded")
        wait_until(lambda: httpx.get(f"{self.url}/readyz").status_code == 200, "the server to be ready")

    def stop(self) -> int:
        """End it as a supervisor does; returns its exit status."""
        self.process.terminate()
        return self.process.wait(LIMIT_S)
