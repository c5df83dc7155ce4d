"""Something that looks at the fleet at regular times during the day."""

import threading
from collections.abc import Callable


class Watch:
    """Calls a function every so many seconds, in a thread, until it is stopped; goes on if it fails."""

    def __init__(self, look: Callable[[], None], pause_s: float) -> None:
        self._look, self._pause_s, self._ended = look, pause_s, threading.Event()
        self.looks = 0
        self.failures: list[str] = []
        """The error of each look that failed."""
        self._thread = threading.Thread(target=self._repeat, daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._ended.set()
        self._thread.join()

    def _repeat(self) -> None:
        while not self._ended.wait(self._pause_s):
            self.looks += 1
            try:
                self._look()
            except Exception as problem:  # noqa: BLE001 - counted, and judged at the end of the day
                self.failures.append(repr(problem))
