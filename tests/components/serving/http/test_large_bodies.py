"""A caller's large bodies are parsed one after the other; other callers' and small ones do not wait."""

import asyncio

import pytest
from patched_sleep import patch_sleep

from components.serving.errors import RefusalError
from components.serving.http import large_bodies
from components.serving.http.large_bodies import LARGE_BYTES, LargeBodies

LARGE = b'["' + b"x" * 100_000 + b'"]'
VALUES = b"[" + b"1," * 9_000 + b"1]"


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self, monkeypatch):
        self.now_s = 0.0
        patch_sleep(monkeypatch, large_bodies, self.sleep)
        self.slept = []

    def __call__(self):
        return self.now_s

    async def sleep(self, seconds):
        self.slept.append(round(seconds, 3))
        self.now_s += seconds


def test_large_bodies_of_one_caller_take_turns_at_a_limited_rate(monkeypatch):
    clock = Clock(monkeypatch)
    bodies = LargeBodies(clock, 10_000)

    async def talk():
        await asyncio.gather(*(bodies.parse("alder", LARGE) for _ in range(3)))
        assert clock.slept == [0, 0.02, 0.02]
        await bodies.parse("birch", LARGE)
        assert clock.slept[3:] == [0]
        await bodies.parse("alder", b"[1]")
        assert len(clock.slept) == 4

    asyncio.run(talk())


def test_many_values_take_longer_turns_also_if_the_body_is_refused(monkeypatch):
    clock = Clock(monkeypatch)
    bodies = LargeBodies(clock, 10_000)

    async def talk():
        await bodies.parse("alder", VALUES)
        with pytest.raises(RefusalError):
            await bodies.parse("alder", b"[" * 20_000)
        await bodies.parse("alder", LARGE)

    asyncio.run(talk())
    assert clock.slept == [0, 0.184, 0.004]


def test_a_body_of_few_bytes_and_many_values_takes_its_turn_as_well(monkeypatch):
    clock = Clock(monkeypatch)
    bodies = LargeBodies(clock, 10_000)
    values = b"[" + b"1," * 7_999 + b"1]"

    async def talk():
        await bodies.parse("alder", values)
        await bodies.parse("alder", values)
        assert clock.slept == [0, 0.163]
        held = asyncio.Event()
        patch_sleep(monkeypatch, large_bodies, lambda _seconds: held.wait())
        parsing = [asyncio.ensure_future(bodies.parse("alder", values)) for _ in range(8)]
        await asyncio.wait(parsing, timeout=0.001)
        with pytest.raises(RefusalError, match="or about 500 values"):
            await bodies.parse("alder", values)
        held.set()
        await asyncio.gather(*parsing)

    asyncio.run(talk())


def test_beyond_eight_waiting_bodies_the_next_is_refused_before_it_is_read(monkeypatch):
    clock = Clock(monkeypatch)
    bodies = LargeBodies(clock, 10_000)

    async def refuse():
        held = asyncio.Event()
        patch_sleep(monkeypatch, large_bodies, lambda _seconds: held.wait())
        parsing = [asyncio.ensure_future(bodies.parse("alder", LARGE)) for _ in range(8)]
        for _ in range(3):
            await asyncio.wait(parsing, timeout=0.001)
        with pytest.raises(RefusalError) as refusal:
            bodies.check_room("alder", LARGE_BYTES + 1)
        assert refusal.value.status == 429
        bodies.check_room("alder", LARGE_BYTES)
        bodies.check_room("birch", LARGE_BYTES + 1)
        held.set()
        await asyncio.gather(*parsing)
        bodies.check_room("alder", LARGE_BYTES + 1)

    asyncio.run(refuse())
