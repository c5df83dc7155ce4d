"""An address has a number of connections at once that send no request, and then a steady pace."""

from components.serving.http import opening_pace
from components.serving.http.opening_pace import OpeningPace


class Clock:
    now_s = 0.0

    def __call__(self):
        return self.now_s


def count_taken(pace, group="a", most=1000):
    count = 0
    while count < most and pace.take(group):
        count += 1
    return count


def test_beyond_64_at_once_an_address_opens_50_a_second():
    clock = Clock()
    pace = OpeningPace(clock)
    assert count_taken(pace) == 64
    clock.now_s += 0.1
    assert count_taken(pace) == 5
    clock.now_s += 100
    assert count_taken(pace) == 64


def test_connections_that_send_requests_are_not_counted():
    pace = OpeningPace(Clock())
    for _ in range(1000):
        assert pace.take("a")
        pace.give_back("a")
    pace.give_back("a")
    assert count_taken(pace) == 64


def test_what_seems_to_hold_a_request_borrows_up_to_256_credits():
    clock = Clock()
    pace = OpeningPace(clock)
    assert count_taken(pace) == 64
    borrowed = 0
    while pace.take("a", may_borrow=True):
        borrowed += 1
    assert borrowed == 256
    clock.now_s += 5
    assert not pace.take("a")
    clock.now_s += 1
    assert pace.take("a")


def test_addresses_are_counted_apart():
    pace = OpeningPace(Clock())
    assert count_taken(pace, "a") == count_taken(pace, "b") == 64


def test_addresses_with_all_their_credits_are_forgotten(monkeypatch):
    monkeypatch.setattr(opening_pace, "_MAX_GROUPS", 3)
    clock = Clock()
    pace = OpeningPace(clock)
    count_taken(pace, "busy", 10)
    for number in range(100):
        clock.now_s += 0.001
        assert pace.take(str(number))
        clock.now_s += 0.1 if number < 98 else 0
    assert len(pace._accounts) <= 5
