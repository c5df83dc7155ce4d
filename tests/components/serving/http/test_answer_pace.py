"""Each caller's cheap answers keep a pace of their own after a first second's worth."""

import asyncio

from patched_sleep import patch_sleep

from components.serving.http import answer_pace
from components.serving.http.answer_pace import AnswerPace


def measure_delays(monkeypatch, calls, tick_s=0.0):
    """The seconds that each of these callers' answers waits, `tick_s` apart."""
    now_s, slept = [0.0], []

    async def sleep(seconds):
        slept.append(seconds)

    async def talk():
        pace, delays = AnswerPace(lambda: now_s[0]), []
        for caller in calls:
            await pace.wait(caller)
            delays.append(round(sum(slept), 6))
            slept.clear()
            now_s[0] += tick_s
        return delays

    patch_sleep(monkeypatch, answer_pace, sleep)
    return asyncio.run(talk())


def test_beyond_a_hundred_at_once_each_answer_waits_longer_up_to_two_seconds(monkeypatch):
    delays = measure_delays(monkeypatch, ["alder"] * 400)
    assert delays[:100] == [0] * 100
    assert delays[100:103] == [0.01, 0.02, 0.03]
    assert delays[299:] == [2.0] * 101


def test_answers_at_the_pace_and_other_callers_do_not_wait(monkeypatch):
    assert not any(measure_delays(monkeypatch, ["alder"] * 300, tick_s=0.01))
    assert measure_delays(monkeypatch, ["alder"] * 150 + ["birch"])[-1] == 0


def test_a_pace_of_its_own():
    pace = AnswerPace(lambda: 0.0, per_second=5.0, max_seconds=3.0)
    assert [round(pace.reserve("alder"), 6) for _ in range(30)][4:] == [n / 5 for n in range(15)] + [3.0] * 11


def test_callers_that_do_not_wait_are_forgotten(monkeypatch):
    monkeypatch.setattr(answer_pace, "_MAX_CALLERS", 3)

    async def talk():
        pace = AnswerPace(lambda: 0.0)
        for number in range(1000):
            await pace.wait(str(number))
        return len(pace._due_s)

    assert asyncio.run(talk()) <= 3


def test_without_a_burst_the_first_answer_waits_too_and_later_ones_up_to_the_limit():
    pace = AnswerPace(lambda: 0.0, per_second=4, burst_seconds=0, max_seconds=1)
    assert [pace.reserve("alder") for _ in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert pace.reserve("birch") == 0.25
