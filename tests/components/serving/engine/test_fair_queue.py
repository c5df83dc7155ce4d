"""Tenants that wait take turns by the tokens that they were served."""

from components.serving.engine.fair_queue import FairQueue


def test_tenants_take_turns_by_what_they_were_served() -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(4):
        queue.push("flood", f"flood {number}")
    assert queue.pop() == "flood 0"
    queue.charge("flood", 100)
    queue.push("late", "late 0")
    queue.push("late", "late 1")
    assert [queue.count_waiting("flood"), queue.count_waiting("late"), len(queue)] == [3, 2, 5]
    assert queue.pop() in ("flood 1", "late 0")
    queue.charge("flood", 1)
    assert queue.remove("flood", "flood 3")
    assert not queue.remove("flood", "flood 3")
    assert queue.pop().startswith("late")
    assert FairQueue[str]().peek() is None
