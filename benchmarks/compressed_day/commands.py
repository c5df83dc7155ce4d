"""The commands of a day: nights, rollout cycles and moves by hand, each in a process of its own; and how each ended."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    words: str
    code: int
    printed: str
    started_s: float
    ended_s: float

    @property
    def has_three_beats(self) -> bool:
        """Whether it says what was wanted, what it got and what to do."""
        return all(f"{beat}:" in self.printed for beat in ("wanted", "got", "fix"))


class Commands:
    """Runs `prefixfleet` in a workspace; the output of each command is kept."""

    def __init__(self, root: Path, environment: Mapping[str, str], logs: Path) -> None:
        self._root, self._environment, self._logs = root, dict(environment), logs
        self.cycles: list[Ended] = []
        """The rollout cycles."""
        self._count = 0

    def start(self, *words: str) -> tuple["subprocess.Popen[bytes]", Path]:
        """Start a command; return its process and the file with its output."""
        self._count += 1
        log = self._logs / f"{self._count:03d}-{words[0]}.log"
        with log.open("wb") as out:
            command = [sys.executable, "-m", "cli.main", "-C", str(self._root), *words]
            return subprocess.Popen(command, stdout=out, stderr=out, env=self._environment), log

    def run(self, *words: str) -> Ended:
        """Run a command to its end."""
        started_s = time.monotonic()
        process, log = self.start(*words)
        code = process.wait()
        return Ended(" ".join(words), code, log.read_text(), started_s, time.monotonic())

    @contextmanager
    def repeat_cycles(self, pause_s: float) -> Iterator[None]:
        """Run a rollout cycle after the other during the block, as the deployment `cycle` does."""
        ended = threading.Event()

        def repeat() -> None:
            while not ended.is_set():
                self.cycles.append(self.run("rollout"))
                ended.wait(pause_s)

        thread = threading.Thread(target=repeat)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
