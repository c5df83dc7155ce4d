"""Signals that stop a command as Ctrl-C does: everything is saved that Ctrl-C saves, and the exit code tells which.

SIGTERM comes from service managers, containers and `kill`, SIGHUP from a terminal that is closed. A second signal of
the same kind ends the process at once.
"""

import signal
from types import FrameType

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


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


def _raise(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    raise StoppedBySignal(number)
