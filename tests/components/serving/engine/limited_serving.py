"""A program: decode rows in one batch of the engine under a memory limit, then each row alone without the limit.

`python limited_serving.py FREE_MIB,LENGTH,LENGTH...` makes one row for each number of source tokens, all different. For
each case it prints, for every row, whether it is the same alone, or its error; and the most blocks that the batch had.
"""

import gc
import sys
from typing import Any

import torch
from memory_limit import limit_memory, make_base, print_result

from components.model.base.load import Base
from components.model.decoding import DecodeRequest
from components.model.delta import Delta
from components.serving.engine.batch import DecoderBatch
from components.serving.engine.detokenizer import IncrementalDetokenizer
from components.serving.engine.sampler import SampledToken
from components.serving.engine.sequence import EngineSequence
from components.serving.interface import ArtifactRef, GenerationRequest

LIMIT = 4


class NoPrefix:
    is_infix = False

    def build_slots(self, _base: Base) -> None:
        return None


def make_sequence(length: int) -> EngineSequence:
    source = [(7 * length + place) % 60 + 2 for place in range(length)]
    request = GenerationRequest(ArtifactRef(str(length), "1", ""), "")
    work = DecodeRequest(Delta(), source, source, LIMIT)
    no_answer: Any = None
    resident: Any = NoPrefix()
    return EngineSequence(request, resident, work, no_answer, IncrementalDetokenizer(lambda ids: ""), None)


def decode(base: Base, lengths: list[int]) -> tuple[dict[str, Any], int]:
    """Return the new ids or the error of each row, and the most blocks that the batch had."""
    batch, results, blocks = DecoderBatch(base, len(lengths), 256), dict[str, Any](), 0
    with torch.inference_mode(), batch.activate():
        for length in lengths:
            batch.add(make_sequence(length))
        while batch.sequences:
            outcomes = batch.step()
            blocks = max(blocks, batch.kv_cache.block_pool.layers[0].shape[1])
            for one, outcome in outcomes:
                is_token, ids = isinstance(outcome, SampledToken), one.detokenizer.token_ids
                if isinstance(outcome, SampledToken):
                    ids.append(outcome.token_id)
                if not is_token or len(ids) == LIMIT:
                    results[one.tenant] = ids if is_token else str(outcome)
                    batch.remove(one, wipe=not is_token)
    return results, blocks


def decode_limited(base: Base, free_mib: int, *lengths: int) -> dict[str, Any]:
    decode(base, [300])  # what the first call allocates for good, or leaves as garbage, does not count
    gc.collect()
    gc.disable()  # what a step leaves behind must not hold memory until garbage is collected
    try:
        with limit_memory(free_mib):
            limited, blocks = decode(base, list(lengths))
    finally:
        gc.enable()
    rows = {
        length: one if isinstance(one, str) else one == decode(base, [int(length)])[0][length]
        for length, one in limited.items()
    }
    return {"rows": rows, "blocks": blocks}


def main(*cases: str) -> None:
    base = make_base(width=256, layers=4)
    print_result([decode_limited(base, *map(int, case.split(","))) for case in cases])


if __name__ == "__main__":
    main(*sys.argv[1:])
