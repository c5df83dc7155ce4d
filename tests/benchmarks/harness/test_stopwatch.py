from collections.abc import Iterator

import pytest


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The wall seconds and the processor seconds that the stopwatch reads."""
    from harness import stopwatch

    now = [0.0, 0.0]
    monkeypatch.setattr(stopwatch, "read_clocks", lambda: (now[0], now[1]))
    return now


def test_time_in_an_inner_part_does_not_count_for_its_caller(clock: list[float]) -> None:
    from harness.stopwatch import Stopwatch

    def wait() -> None:
        clock[0] += 5.0
        clock[1] += 1.0

    watch = Stopwatch()
    inner = watch.wrap_function("inner", wait)

    def work() -> None:
        clock[0] += 2.0
        inner()
        clock[1] += 0.5

    watch.wrap_function("outer", work)()
    assert watch.seconds_by_part == {"inner": (5.0, 1.0), "outer": (2.0, 0.5)}


def test_only_the_time_inside_a_generator_is_measured(clock: list[float]) -> None:
    from harness.stopwatch import Stopwatch

    def generate() -> Iterator[int]:
        for number in range(3):
            clock[0] += 1.0
            yield number

    watch, values = Stopwatch(), []
    for value in watch.wrap_generator("part", generate)():
        clock[0] += 10.0
        values.append(value)
    assert values == [0, 1, 2]
    assert watch.seconds_by_part == {"part": (3.0, 0.0)}
