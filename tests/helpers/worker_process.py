"""A training worker as a machine of its own: it can lose its power or its network."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from network_link import NetworkLink


@dataclass
class Worker:
    """A `prefixfleet worker start` at work."""

    name: str
    process: Any
    links: Sequence[NetworkLink]
    log: Path

    def kill(self) -> None:
        """End all its processes at once, as a machine that loses power."""
        found: list[psutil.Process] = []
        while new := [one for one in self._list_processes() if one not in found]:
            for one in new:
                with suppress(psutil.NoSuchProcess):
                    one.suspend()  # or a parent would report the end of its child
            found += new
        for one in found:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        self.process.wait()

    def cut_network(self) -> None:
        """Let nothing be reachable for it."""
        for link in self.links:
            link.cut()

    def restore_network(self) -> None:
        """Let all be reachable again."""
        for link in self.links:
            link.restore()

    def _list_processes(self) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            leader = psutil.Process(self.process.pid)
            return [leader, *leader.children(recursive=True)]
        return []
