"""Time for expiry goes on while a clock is set back, and follows one that is set forward until it is corrected."""

from components.access.latest_clock import LatestClock


def test_the_later_of_clock_and_timer_counts():
    times = {"clock": 1000.0, "timer": 5.0}
    now = LatestClock(lambda: times["clock"], lambda: times["timer"])
    assert now() == 1000
    times.update(clock=1010 - 3600, timer=15)
    assert now() == 1010
    times.update(clock=9000, timer=20)
    assert now() == 9000
    times.update(clock=1020, timer=25)
    assert now() == 1020
