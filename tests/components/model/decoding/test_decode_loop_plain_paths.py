"""Shared beam caches and the block-wise search for candidates change no output."""

from collections.abc import Callable
from typing import Any

import pytest
from plain_paths import DECODING, turn_off

from components.model.base.load import Base
from components.model.base.shapes import DECODER, INFIX
from components.model.decoding import DecodeRequest, Decoding, decode
from components.model.delta import Delta
from components.model.prefix.prefix import Prefix

GUIDED, CONTROLLED = Decoding(5, 10, guidance=1.7), Decoding(3, 10, min_new_tokens=4, no_repeat_ngram=2)


@pytest.mark.parametrize(
    ("kind", "infix", "decoding"),
    [
        *((kind, False, decoding) for kind in ("gpt2", "llama", "bart") for decoding in (Decoding(1, 12), GUIDED)),
        *((kind, False, Decoding(3, 12)) for kind in ("llama", "bart")),
        *((kind, True, Decoding(3, 12)) for kind in ("gpt2", "llama")),
        ("gpt2", True, Decoding(1, 12)),
        ("gpt2", False, CONTROLLED),
        ("llama", True, CONTROLLED),
    ],
    ids=str,
)
def test_outputs_equal_those_of_plain_decoding(
    build_base: Callable[..., Base], some_sources: Any, values_for: Any, kind: str, infix: bool, decoding: Decoding
) -> None:
    base = build_base(kind, 3)

    def delta(slots: int) -> Delta:
        tensors = values_for(base.model, slots).tensors
        return Delta(prefix=Prefix({name.replace(DECODER, INFIX): one for name, one in tensors.items()}))

    deltas = [delta(slots) if infix else Delta(prefix=values_for(base.model, slots)) for slots in (3, 7)]
    mixed = deltas if infix else [*deltas, Delta()]
    requests = [
        DecodeRequest(mixed[row % len(mixed)], ids, ids, decoding.max_new_tokens - row % 5, row)
        for row, ids in enumerate(some_sources(14, 3))
    ]
    fast = {request.number: ids for request, ids in decode(base, requests, decoding, 4)}
    with turn_off(*DECODING):
        plain = {request.number: ids for request, ids in decode(base, requests, decoding, 4)}
    assert plain == fast
    assert len({len(ids) for ids in plain.values()}) > 1
