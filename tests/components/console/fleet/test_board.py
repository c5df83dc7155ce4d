"""The newest snapshot: read once at a time, only while somebody looks, and kept while a reading fails."""

import threading

import pytest
from waiting import wait_until

from components.console.fleet.board import FleetBoard
from components.console.fleet.rows import FleetSnapshot


class Fleet:
    """Readings that end when they are let go."""

    def __init__(self):
        self.readings, self.now_s, self.fails = 0, 0.0, False
        self.go = threading.Event()
        self.go.set()

    def read(self, before):
        self.readings += 1
        self.go.wait(60)
        if self.fails:
            raise RuntimeError("broken")
        return FleetSnapshot(rows=(), read_at=f"{self.readings}")


@pytest.fixture
def fleet():
    return Fleet()


@pytest.fixture
def board(fleet):
    return FleetBoard(fleet.read, lambda: fleet.now_s, 30.0)


def test_nothing_is_read_again_before_it_is_old(fleet, board):
    assert board.get(60).number == 1
    fleet.now_s = 29
    assert (board.get().number, fleet.readings) == (1, 1)
    fleet.now_s = 31
    board.get()
    assert wait_until(lambda: board.get().number == 2, "the second snapshot")


def test_after_a_change_a_page_gets_a_snapshot_that_was_read_after_it(fleet, board):
    board.get(60)
    board.expire()
    assert board.get(60).number == 2
    fleet.now_s = 31
    fleet.go.clear()
    board.get()
    wait_until(lambda: fleet.readings == 3, "a reading that begins before the change")
    board.expire()
    threading.Timer(0.05, fleet.go.set).start()
    assert board.get(60).read_at == "4"
    assert (board.get(60).number, fleet.readings) == (4, 4)


def test_one_reading_serves_all_who_look_meanwhile(fleet, board):
    fleet.go.clear()
    assert [board.get() for _ in range(5)] == [None] * 5
    fleet.go.set()
    assert board.get(60).read_at == "1"
    assert fleet.readings == 1


def test_a_failed_reading_keeps_the_last_one_and_says_so(fleet, board):
    board.get(60)
    fleet.fails = True
    board.expire()
    wait_until(lambda: board.get().troubles, "the trouble")
    assert board.get().read_at == "1"
