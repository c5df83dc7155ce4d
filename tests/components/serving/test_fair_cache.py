"""A tenant's entries push out only its own, or those of a tenant that has more."""

from hypothesis import given
from hypothesis import strategies as st

from components.serving.fair_cache import FairCache


def test_a_tenant_that_adds_much_loses_its_own_oldest_entries():
    cache = FairCache(100)
    cache.put("birch", "b", 0)
    for number in range(300):
        cache.put("alder", number, number)
    assert cache.get("b") == 0
    assert [number for number in range(300) if number in cache] == list(range(201, 300))
    cache.remove_tenant("alder")
    assert (len(cache), cache.get(299), cache.get("b")) == (1, None, 0)


def test_the_tenant_with_most_bytes_loses_entries_first():
    cache = FairCache(100, max_size=10)
    for number in range(3):
        cache.put("birch", number, number, 1)
    for key in "xyz":
        cache.put("alder", key, key, 4)
    assert [key for key in (0, 1, 2, "x", "y", "z") if key in cache] == [0, 1, 2, "z"]
    cache.put("cedar", "huge", 1, 11)
    assert [key for key in (0, 1, 2, "z", "huge") if key in cache] == [0, 1, 2, "z"]


PUTS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 6)), max_size=60)


@given(puts=PUTS, max_entries=st.integers(1, 8), max_size=st.integers(1, 20))
def test_the_limits_hold_and_a_tenant_below_its_share_loses_nothing(puts, max_entries, max_size):
    cache, kept_by_a = FairCache(max_entries, max_size), []
    for number, (tenant, size) in enumerate(puts):
        cache.put(tenant, number, size, size)
        held = [key for key in range(number + 1) if key in cache]
        assert len(held) == len(cache) <= max_entries
        assert sum(cache.get(key) for key in held) <= max_size
        kept_by_a += [number] if tenant == "a" else []
    if len(kept_by_a) <= max_entries // 3 and sum(puts[key][1] for key in kept_by_a) <= max_size / 3:
        assert all(key in cache for key in kept_by_a)
