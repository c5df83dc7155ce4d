"""Signals that stop a command as Ctrl-C does: everything is saved that Ctrl-C saves, and the exit code tells which.

SIGTERM comes from service managers, containers and `kill`, SIGHUP from a terminal that is closed. A second signal of
the same kind ends the process at once.

While a module is imported, a signal takes effect at the end of the import: an exception in the middle of it leaves
modules half loaded, and Python drops it where it arrives in the import system's own callbacks.
"""

import signal
import threading
from types import FrameType

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
_RETRY_SECONDS = 0.05
_IMPORT_SYSTEM = "<frozen importlib"
_deferred: set[int] = set()


class StoppedBySignal(KeyboardInterrupt):
    """Raised in the main thread when one of the signals arrives."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def raise_on_stop_signals() -> None:
    """Raise StoppedBySignal when a stop signal arrives; a signal that is ignored (`nohup`) stays so."""
    for number in _STOP_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _raise)


def describe_stop(stop: KeyboardInterrupt) -> tuple[str, int]:
    """Return what stopped the command, for messages, and the exit code: 128 + the number of the signal."""
    number = stop.number if isinstance(stop, StoppedBySignal) else signal.SIGINT
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name, 128 + number


def _raise(number: int, frame: FrameType | None) -> None:
    if number in _deferred:
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
    elif _is_importing(frame):
        _deferred.add(number)
        timer = threading.Timer(_RETRY_SECONDS, _send_again, (number,))
        timer.daemon = True
        timer.start()
    else:
        signal.signal(number, signal.SIG_DFL)
        raise StoppedBySignal(number)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith(_IMPORT_SYSTEM):
            return True
        frame = frame.f_back
    return False


def _send_again(number: int) -> None:
    _deferred.discard(number)
    signal.raise_signal(number)
