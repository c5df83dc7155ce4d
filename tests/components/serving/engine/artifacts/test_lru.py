from components.serving.engine.artifacts.lru import LRUCache


def test_the_least_recently_used_are_evicted_and_pinned_ones_stay() -> None:
    cache: LRUCache[str] = LRUCache(10)
    for key in "abc":
        assert cache.put(key, key.upper(), 3) == []
    assert cache.get("a") == "A"
    assert cache.put("d", "D", 4) == ["b"]
    assert cache.put("e", "E", 4, pinned=["c"]) == ["a", "d"]
    assert cache.values_by_key == {"c": "C", "e": "E"}


def test_a_replaced_value_counts_once() -> None:
    cache: LRUCache[str] = LRUCache(10)
    assert cache.put("a", "one", 6) == []
    assert cache.put("a", "two", 8) == []
    assert (cache.used_bytes, cache.get("a"), len(cache)) == (8, "two", 1)
    assert cache.put("b", "three", 3) == ["a"]


def test_a_value_that_does_not_fit_changes_nothing() -> None:
    cache: LRUCache[str] = LRUCache(10)
    cache.put("b", "three", 3)
    assert cache.put("c", "four", 9, pinned=["b"]) is None
    assert cache.put("c", "four", 11) is None
    assert (cache.used_bytes, cache.get("b")) == (3, "three")
    cache.remove("b")
    cache.remove("b")
    assert (cache.used_bytes, len(cache)) == (0, 0)
