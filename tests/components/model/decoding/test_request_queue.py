"""The queue of requests: windows of one batch key, the longest first, read only when needed."""

from collections.abc import Iterator

import torch

from components.model.decoding.request_queue import DecodeRequest, RequestQueue
from components.model.delta import Delta
from components.model.prefix.prefix import Prefix

NONE = Delta()
INFIX = Delta(prefix=Prefix.from_site(torch.zeros(1, 2, 1, 3, 4), "decoder.infix"))


def request(length: int, delta: Delta = NONE) -> DecodeRequest:
    return DecodeRequest(delta, [5] * length, [5] * length, 4, length)


def lengths(requests: list[DecodeRequest]) -> list[int]:
    return [len(one.source) for one in requests]


def test_a_window_is_sorted_by_length_and_read_when_it_is_needed() -> None:
    count = 0

    def read() -> Iterator[DecodeRequest]:
        nonlocal count
        for length in (3, 5, 4, 9, 8, 7):
            count += 1
            yield request(length)

    queue = RequestQueue(read(), 3)
    assert count == 0
    assert queue.open_next_window()
    assert count == 3
    assert len(queue.first.source) == 5
    assert lengths(queue.take(2, may_refill=True)) == [5, 4]
    assert lengths(queue.take(2, may_refill=True)) == [3]
    assert queue.take(2, may_refill=False) == []
    assert lengths(queue.take(2, may_refill=True)) == [9, 8]
    assert lengths(queue.take(2, may_refill=True)) == [7]
    assert not queue.open_next_window()


def test_a_window_has_one_batch_key() -> None:
    queue = RequestQueue([request(1), request(2), request(3, INFIX), request(4)], 9)
    windows = []
    while queue.open_next_window():
        windows.append(lengths(queue.take(9, may_refill=True)))
        assert queue.take(9, may_refill=True) == []
    assert windows == [[2, 1], [3], [4]]


def test_returned_requests_are_taken_again_in_the_order_of_their_length() -> None:
    queue = RequestQueue(map(request, (6, 2, 4)), 9)
    assert queue.open_next_window()
    taken = queue.take(2, may_refill=True)
    queue.put_back(taken)
    assert lengths(queue.take(9, may_refill=True)) == [6, 4, 2]


def test_slots_count_as_tokens_of_a_request() -> None:
    assert (request(5).length, request(5, INFIX).length) == (5, 8)
