"""A pool's tenants take turns, and a call beyond its limits is refused at once."""

import asyncio
import re
import threading
from pathlib import Path

import pytest

import components.serving
from components.serving.interface import BusyError
from components.serving.thread_pool import FairThreadPool

LIMIT_S = 60


class Gate:
    """Work that waits until `open` is set, and records in which order it began."""

    def __init__(self):
        self.open = threading.Event()
        self.began = []

    def work(self, name):
        def run():
            self.began.append(name)
            assert self.open.wait(LIMIT_S)
            return name

        return run


async def wait_for(condition):
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            await asyncio.sleep(0.001)


def test_the_tenants_take_turns_and_one_cannot_use_all_threads():
    async def main():
        pool, gate = FairThreadPool("letters", 3, tenant_threads=2), Gate()
        greedy = [asyncio.create_task(pool.run(gate.work(f"a{number}"), "alder")) for number in range(6)]
        await wait_for(lambda: len(gate.began) == 2)
        modest = asyncio.create_task(pool.run(gate.work("b"), "birch"))
        await wait_for(lambda: len(gate.began) == 3)
        assert gate.began[2] == "b"
        later = asyncio.create_task(pool.run(gate.work("c"), "cedar"))
        await asyncio.sleep(0)
        gate.open.set()
        assert await asyncio.gather(*greedy, modest, later) == [*(f"a{number}" for number in range(6)), "b", "c"]
        assert "c" in gate.began[3:5]

    asyncio.run(main())


def test_a_call_beyond_the_limits_is_refused_at_once_and_places_become_free_again():
    async def main():
        pool, gate = FairThreadPool("letters", max_calls=3, max_tenant_calls=2), Gate()
        calls = [asyncio.create_task(pool.run(gate.work(tenant), tenant)) for tenant in ("alder", "alder", "birch")]
        await wait_for(lambda: gate.began)
        with pytest.raises(BusyError, match="fewer than 2 of this tenant waiting calls of this kind: letters"):
            await pool.run(gate.work("no"), "alder")
        with pytest.raises(BusyError, match="fewer than 3 in all"):
            await pool.run(gate.work("no"), "cedar")
        gate.open.set()
        await asyncio.gather(*calls)
        for _ in range(5):
            assert await pool.run(gate.work("yes"), "alder") == "yes"
        assert "no" not in gate.began

    asyncio.run(main())


def test_a_cancelled_call_that_waits_is_not_run_and_one_that_runs_keeps_its_place():
    async def main():
        pool, gate = FairThreadPool("letters", max_calls=2), Gate()
        first, second = (asyncio.create_task(pool.run(gate.work(name), name)) for name in ("first", "second"))
        await wait_for(lambda: gate.began)
        second.cancel()
        first.cancel()
        await asyncio.wait([first, second])
        with pytest.raises(BusyError):
            await asyncio.gather(*(pool.run(gate.work(name), name) for name in ("third", "fourth")))
        gate.open.set()
        await wait_for(lambda: "third" in gate.began or "fourth" in gate.began)
        assert "second" not in gate.began

    asyncio.run(main())


def test_an_error_of_the_work_is_raised_and_the_thread_goes_on():
    def fail():
        raise ZeroDivisionError

    async def main():
        pool = FairThreadPool("letters")
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await pool.run(fail)
        assert await pool.run(lambda: 7) == 7

    asyncio.run(main())


def test_serving_never_uses_the_threads_that_all_work_of_a_process_shares():
    folder = Path(components.serving.__file__).parent
    shared = re.compile(r"to_thread|run_in_executor|run_in_threadpool|run_sync")
    assert [path.name for path in folder.rglob("*.py") if shared.search(path.read_text())] == []


def test_a_tenant_has_waiting_calls_until_they_have_begun():
    async def main():
        pool, gate = FairThreadPool("letters"), Gate()
        calls = [asyncio.create_task(pool.run(gate.work(name), "alder")) for name in "ab"]
        await wait_for(lambda: gate.began)
        assert (pool.has_waiting("alder"), pool.has_waiting("birch")) == (True, False)
        gate.open.set()
        await asyncio.gather(*calls)
        assert not pool.has_waiting("alder")

    asyncio.run(main())
