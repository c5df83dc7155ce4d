"""The tenant that was served the fewest tokens is next."""

from components.serving.engine.fair_queue import FairQueue


def test_tenants_take_turns_by_the_tokens_that_they_were_served() -> None:
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


def test_a_pause_earns_no_credit_and_an_idle_tenant_is_not_charged() -> None:
    queue: FairQueue[str] = FairQueue()
    for tenant in ("busy", "idle"):
        queue.push(tenant, f"{tenant} 0")
        queue.push(tenant, f"{tenant} 1")
    for tenant in ("busy", "idle"):
        assert queue.pop() == f"{tenant} 0"
        queue.charge(tenant, 50)
    assert queue.remove("idle", "idle 1")
    queue.mark_done("idle")
    queue.charge("idle", 1000)
    queue.charge("busy", 50)
    queue.push("idle", "idle 2")
    assert queue.pop() == "busy 1", "the idle tenant starts with the count of the busy one"


def test_a_tenant_uses_its_places_and_leaves_the_rest_to_others() -> None:
    queue: FairQueue[str] = FairQueue(max_places=3)
    for number in range(4):
        queue.push("flood", f"flood {number}")
    assert [queue.pop(2), queue.pop(2)] == ["flood 0", "flood 1"]
    assert queue.peek() is None
    queue.push("late", "late 0")
    assert queue.pop() == "late 0"
    queue.mark_done("flood", 2)
    assert queue.pop() == "flood 2"
