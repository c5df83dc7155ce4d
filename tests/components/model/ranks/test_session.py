"""Operations and their objects on another rank than the first, and without other ranks."""

from typing import Any

import pytest

from components.model.ranks import count_processes, count_ranks, gather_from_ranks, run_on_all_ranks, share
from components.model.ranks.session import RankSession, _Operation, _Reference

received: list[Any] = []


class Thing:
    """An object that every rank makes."""


def follow(session: RankSession, *operations: _Operation) -> None:
    """Let a rank follow these operations."""
    waiting = iter(operations)
    session.receive = lambda: next(waiting)  # type: ignore[method-assign]
    session.follow()


def make(function: Any, *arguments: Any, dropped: tuple[int, ...] = (), failed: bool = False) -> _Operation:
    return _Operation(function, arguments, dropped, failed, has_gradients=False, is_inference=True)


def test_operations_name_the_objects_of_earlier_ones() -> None:
    session, thing = RankSession(1, 2, None), Thing()
    received.clear()
    follow(
        session,
        make(lambda: session.share(thing)),
        make(lambda one, word: received.append((one, word)), _Reference(0), "word"),
        make(lambda: received.append(dict(session.objects)), dropped=(0,)),
        make(None),
    )
    assert received == [(thing, "word"), {}]
    assert not session.is_broken


def test_a_rank_ends_where_rank_0_alone_has_failed() -> None:
    session = RankSession(1, 2, None)
    with pytest.raises(RuntimeError, match="rank 1 and rank 0"):
        follow(session, make(lambda: None), make(None, failed=True))
    assert session.is_broken


def test_rank_0_forgets_objects_that_are_not_used_any_more() -> None:
    session, thing = RankSession(0, 2, None), Thing()
    session.share(thing)
    assert list(session.numbers.values()) == [0]
    del thing
    assert (session.numbers, session.dropped) == ({}, [0])


def test_one_process_calls_functions_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (count_processes(), count_ranks(), gather_from_ranks(5)) == (1, 1, [5])
    assert run_on_all_ranks(divmod, 7, 2) == (3, 1)
    assert share(received) is received
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert count_processes() == 1
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert (count_processes(), count_ranks()) == (3, 1)
