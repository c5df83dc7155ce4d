"""Batched decoding of a base under the tenants' deltas: greedy, sampled, or with beams.

Gives the same output as transformers' `generate` (greedy, or beams with `early_stopping=False`), and computes less:
rows are sorted by length, finished rows leave the batch and others enter, and the beams of a row share one prefill and
one cache, which is written in place. A row's output does not depend on the other rows, except for rounding of logits.
A row that reaches its limit ends with the base's `forced_eos_token_id`, if the base has one.
Does not know data sets, metrics or files.
"""

from components.model.decoding.decode_loop import decode
from components.model.decoding.generate import (
    SourceIds,
    decode_answer,
    generate_each,
    generate_text,
    make_requests,
)
from components.model.decoding.options import Decoding
from components.model.decoding.request_queue import DecodeRequest

__all__ = [
    "DecodeRequest",
    "Decoding",
    "SourceIds",
    "decode",
    "decode_answer",
    "generate_each",
    "generate_text",
    "make_requests",
]
