"""A program: rows in one batch under a limit of memory, then each alone without one; print what became of them as JSON.

`python limited_memory.py FREE_MIB LENGTH...` with one row for each number of source tokens, all different.
"""

import json
import logging
import re
import resource
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GPT2Config

from components.model.base.load import Base
from components.model.decoding import DecodeRequest as Work
from components.model.delta import Delta
from components.serving.engine.batch import DecoderBatch
from components.serving.engine.detokenizer import IncrementalDetokenizer
from components.serving.engine.sampler import SampledToken
from components.serving.engine.sequence import EngineSequence
from components.serving.interface import ArtifactRef, GenerationRequest

CONTEXT, LIMIT = 4096, 4


class NoTexts:
    eos_token_id, pad_token_id = 0, 1


class NoPrefix:
    is_infix = False

    def build_slots(self, _base: Base) -> None:
        return None


def row(length: int) -> EngineSequence:
    source = [(7 * length + place) % 60 + 2 for place in range(length)]
    request, work = GenerationRequest(ArtifactRef(str(length), "1", ""), ""), Work(Delta(), source, source, LIMIT)
    nobody: Any = None
    resident: Any = NoPrefix()
    return EngineSequence(request, resident, work, nobody, IncrementalDetokenizer(lambda ids: ""), None)


def written(base: Base, lengths: list[int]) -> tuple[dict[str, Any], int]:
    """What became of each row, and the most blocks that there were."""
    batch, found, blocks = DecoderBatch(base, len(lengths), 256), dict[str, Any](), 0
    with torch.inference_mode(), batch.activate():
        for length in lengths:
            batch.add(row(length))
        while batch.sequences:
            outcomes = batch.step()
            blocks = max(blocks, batch.kv_cache.block_pool.layers[0].shape[1])
            for one, outcome in outcomes:
                if isinstance(outcome, SampledToken):
                    one.detokenizer.token_ids.append(outcome.token_id)
                if not isinstance(outcome, SampledToken) or len(one.detokenizer.token_ids) == LIMIT:
                    found[one.tenant] = one.detokenizer.token_ids if isinstance(outcome, SampledToken) else str(outcome)
                    batch.remove(one, wipe=not isinstance(outcome, SampledToken))
    return found, blocks


def main(free_mib: str, *lengths: str) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    logging.basicConfig(stream=sys.stderr)
    sizes = {"n_embd": 256, "n_head": 4, "n_layer": 4, "n_positions": CONTEXT, "initializer_range": 0.2}
    config = GPT2Config(vocab_size=67, bos_token_id=0, eos_token_id=0, pad_token_id=1, **sizes)
    model = AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    base, numbers = Base(model, NoTexts(), "tiny", "0" * 64, "1" * 64, 1, CONTEXT), list(map(int, lengths))
    written(base, [300])
    used = re.search(r"VmData:\s+(\d+)", Path("/proc/self/status").read_text())
    assert used is not None
    most = 1024 * int(used[1]) + int(free_mib) * 2**20
    resource.setrlimit(resource.RLIMIT_DATA, (most, resource.RLIM_INFINITY))
    tight, blocks = written(base, numbers)
    resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    alone = {
        length: written(base, [int(length)])[0][length] for length, one in tight.items() if not isinstance(one, str)
    }
    told = {length: one if isinstance(one, str) else one == alone[length] for length, one in tight.items()}
    sys.stdout.write(json.dumps({"rows": told, "blocks": blocks}))


if __name__ == "__main__":
    main(*sys.argv[1:])
