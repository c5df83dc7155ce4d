from hypothesis import given
from hypothesis import strategies as st

from components.data.batches import IGNORED_LABEL, collate, order_epoch
from components.data.pairs import TokenizedPair


def test_rows_are_padded_on_the_right_and_only_targets_have_labels() -> None:
    batch = collate([TokenizedPair((5, 6, 0), (7, 0)), TokenizedPair((8, 0), (9, 0))], pad_id=1)
    assert batch.input_ids_BT.tolist() == [[5, 6, 0, 7, 0], [8, 0, 9, 0, 1]]
    assert batch.attention_mask_BT.tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]]
    assert batch.labels_BT.tolist() == [[IGNORED_LABEL] * 3 + [7, 0], [IGNORED_LABEL] * 2 + [9, 0, IGNORED_LABEL]]


def test_padding_with_the_end_of_text_id_keeps_the_real_one() -> None:
    batch = collate([TokenizedPair((5, 0), (7, 0)), TokenizedPair((8, 0), (9, 9, 0))], pad_id=0)
    assert batch.attention_mask_BT.tolist()[0] == [1, 1, 1, 1, 0]
    assert batch.labels_BT.tolist()[0] == [IGNORED_LABEL, IGNORED_LABEL, 7, 0, IGNORED_LABEL]


@given(st.lists(st.integers(1, 50), max_size=200), st.integers(1, 9), st.integers(), st.integers(0, 5))
def test_an_epoch_has_every_index_once_and_always_in_the_same_order(
    lengths: list[int], batch_size: int, seed: int, epoch: int
) -> None:
    batches = order_epoch(lengths, batch_size, seed, epoch)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    assert len(batches) == -(-len(lengths) // batch_size)
    assert batches == order_epoch(lengths, batch_size, seed, epoch)


def test_orders_differ_by_seed_and_epoch_and_rows_of_a_batch_have_similar_lengths() -> None:
    lengths = [index % 40 + 1 for index in range(800)]
    orders = [order_epoch(lengths, 16, seed, epoch) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    assert orders[0] != orders[1] != orders[2] != orders[0]
    padded = sum(len(batch) * max(lengths[index] for index in batch) for batch in orders[0])
    assert padded < 1.1 * sum(lengths)
    longest = [max(lengths[index] for index in batch) for batch in orders[0]]
    assert longest != sorted(longest)
