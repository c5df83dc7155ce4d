import numpy as np
import pytest

from components.data.pairs import TokenizedPair, TokenizedPairs, count_pair_tokens

ALONE = [
    TokenizedPair((7, 8, 0), (9, 0)),
    TokenizedPair((), (5,)),
    TokenizedPair((4,), ()),
    TokenizedPair((3, 0), (2,)),
]


@pytest.fixture
def pairs() -> TokenizedPairs:
    ids = np.array([id_ for pair in ALONE for id_ in (*pair.source_ids, *pair.target_ids)], dtype=np.int32)
    return TokenizedPairs.from_contiguous(ids, count_pair_tokens(ALONE))


def test_pairs_are_indexed_and_sliced_like_a_list(pairs: TokenizedPairs) -> None:
    assert list(pairs) == ALONE
    assert (pairs[-1], len(pairs)) == (ALONE[-1], 4)
    assert list(pairs[1::2]) == ALONE[1::2]
    assert list(pairs[::-1][:3]) == ALONE[::-1][:3]
    with pytest.raises(IndexError):
        pairs[4]


def test_tokens_are_counted_for_arrays_and_for_a_list(pairs: TokenizedPairs) -> None:
    expected = [[3, 2], [0, 1], [1, 0], [2, 1]]
    assert count_pair_tokens(pairs).tolist() == count_pair_tokens(ALONE).tolist() == expected
    assert count_pair_tokens(pairs[2:]).tolist() == expected[2:]
