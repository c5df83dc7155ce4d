from prefixfleet_vllm.block_owners import NO_OWNER, BlockOwners


def find(owners: BlockOwners, *cached: int) -> dict[int, int]:
    return owners.find_traces({"a"}, lambda block: block in cached)


def test_free_blocks_of_the_artifact_are_traces_whether_cached_or_not() -> None:
    owners = BlockOwners([4])
    owners.set_blocks("r", "a", [[1, 2]], 6)
    owners.add_blocks("r", [[3]], 9)
    owners.remove_request("r")
    assert find(owners, 1, 2) == {1: 0, 2: 0, 3: 0}
    assert find(owners, 1, 2) == {}


def test_cached_blocks_of_others_are_none_but_their_uncached_ones_may_have_remains() -> None:
    owners = BlockOwners([4])
    owners.set_blocks("a's", "a", [[1, 2, 3]], 12)
    owners.remove_request("a's")
    owners.set_blocks("b's", "b", [[1, 2]], 6)
    owners.remove_request("b's")
    assert find(owners, 1) == {2: 0, 3: 0}


def test_blocks_in_use_by_others_are_traces_behind_what_they_hold() -> None:
    owners = BlockOwners([4])
    owners.set_blocks("a's", "a", [[1, 2, 3]], 12)
    owners.remove_request("a's")
    owners.set_blocks("other", NO_OWNER, [[1, 2, 3]], 6)
    assert find(owners) == {2: 2, 3: 0}


def test_groups_have_block_sizes_of_their_own() -> None:
    owners = BlockOwners([4, 8])
    owners.set_blocks("r", "b", [[1, 2], [3]], 5)
    owners.add_blocks("r", None, 6)
    assert find(owners) == {2: 2, 3: 6}
