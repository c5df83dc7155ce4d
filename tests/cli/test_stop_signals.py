"""Which signals stop a command, and what the exit code and the message say."""

import importlib
import signal

import pytest
from waiting import wait_until

from cli import main
from cli.stop_signals import StoppedBySignal, describe_stop, raise_on_stop_signals


@pytest.fixture(autouse=True)
def restore_handlers():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number in before:
        signal.signal(number, signal.SIG_DFL)  # pytest may run under nohup
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("stop", "described"),
    [
        (KeyboardInterrupt(), ("Ctrl-C", 130)),
        (StoppedBySignal(signal.SIGTERM), ("SIGTERM", 143)),
        (StoppedBySignal(signal.SIGHUP), ("SIGHUP", 129)),
    ],
)
def test_the_exit_code_tells_what_stopped_a_command(stop, described):
    assert describe_stop(stop) == described


def test_the_first_signal_raises_and_the_second_ends_the_process():
    raise_on_stop_signals()
    with pytest.raises(StoppedBySignal):
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGHUP)


def test_a_signal_during_an_import_takes_effect_after_it(tmp_path, monkeypatch):
    (tmp_path / "stopped_module.py").write_text("import signal\nsignal.raise_signal(signal.SIGTERM)\ndone = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    raise_on_stop_signals()

    def import_and_wait():
        assert importlib.import_module("stopped_module").done
        wait_until(lambda: False, "the signal")

    with pytest.raises(StoppedBySignal):
        import_and_wait()


def test_a_command_under_nohup_goes_on_when_its_terminal_closes():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    raise_on_stop_signals()
    signal.raise_signal(signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_a_signal_before_the_command_begins_has_its_own_exit_code_too(call, monkeypatch, tmp_path):
    def stop(*_arguments, **_options):
        raise StoppedBySignal(signal.SIGTERM)

    monkeypatch.setattr(main._ErrorHandlingGroup, "make_context", stop)
    assert call(tmp_path, "status").exit_code == 143
