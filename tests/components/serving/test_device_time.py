"""The time of a device is divided among the rows that it computes together."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.serving.device_time import DeviceTime, add_seconds


class Clock:
    now_s = 100.0

    def __call__(self):
        return self.now_s


def test_rows_share_the_time_in_which_they_are_there_together():
    clock = Clock()
    device = DeviceTime(clock)
    clock.now_s += 5  # nobody's
    first = device.begin()
    clock.now_s += 4
    second = device.begin(3)
    clock.now_s += 8
    device.end("birch", second, 3)
    clock.now_s += 1
    device.end("acme", first)
    clock.now_s += 5
    assert device.take() == pytest.approx({"acme": 4 + 2 + 1, "birch": 6})
    assert device.take() == {}


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 9), st.floats(0, 10)), min_size=1, max_size=12))
def test_the_parts_of_all_rows_add_up_to_the_time_in_which_there_was_a_row(rows):
    clock, open_rows, busy_s = Clock(), [], 0.0
    device = DeviceTime(clock)
    for weight, lives, seconds in rows:
        open_rows.append((device.begin(weight), weight, lives))
        clock.now_s += seconds
        busy_s += seconds
        ended = [one for one in open_rows if one[2] <= 1]
        open_rows = [(mark, own, left - 1) for mark, own, left in open_rows if left > 1]
        for mark, own, _ in ended:
            device.end(f"tenant-{own}", mark, own)
        if not open_rows:
            clock.now_s += 3.0
    for mark, own, _ in open_rows:
        device.end("last", mark, own)
    assert sum(device.take().values()) == pytest.approx(busy_s)


def test_the_seconds_of_several_devices_are_added_by_tenant():
    assert add_seconds({"acme": 1.0}, {"acme": 2.0, "birch": 3.0}, {}) == {"acme": 3.0, "birch": 3.0}
