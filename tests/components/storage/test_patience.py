"""Waits grow up to a limit, and the limit counts from the first failure or the last progress."""

import pytest

from components.storage.patience import Patience


class Clock:
    """A clock that only the waits move."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.waits_s: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.waits_s.append(seconds)
        self.now_s += seconds

    def make_patience(self, limit_s: float) -> Patience:
        return Patience(limit_s, lambda: self.now_s, self.sleep)


def test_waits_grow_and_fill_the_limit_exactly() -> None:
    clock = Clock()
    patience = clock.make_patience(60)
    while patience.wait():
        pass
    assert sum(clock.waits_s) == pytest.approx(60)
    assert clock.waits_s[0] <= 0.2
    assert max(clock.waits_s) <= 5
    assert len(clock.waits_s) < 30


def test_no_patience_is_no_wait() -> None:
    clock = Clock()
    assert not clock.make_patience(0).wait()
    assert clock.waits_s == []


def test_the_time_before_the_first_failure_does_not_count() -> None:
    clock = Clock()
    patience = clock.make_patience(10)
    clock.now_s += 1000
    assert patience.wait()


def test_progress_beyond_earlier_tries_renews_the_limit() -> None:
    clock = Clock()
    patience = clock.make_patience(10)
    for done_bytes in (5, 9, 12):
        patience.note_progress(done_bytes)
        assert patience.wait()
        clock.now_s += 9.9
    assert not patience.wait()
    patience.note_progress(12)
    assert not patience.wait()
