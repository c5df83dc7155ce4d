"""A program: decode rows under a limit of memory, then without one; print whether they agree, as JSON.

`python limited_memory.py FREE_MIB ROWS LENGTH` for rows of so many source tokens, all decoded together where that fits.
"""

import json
import logging
import re
import resource
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, GPT2Config

from components.errors import BaseModelError
from components.model.base.load import Base
from components.model.decoding import Decoding, generate_each
from components.model.prefix.prefix import Prefix

CONTEXT = 4096


class NoTexts:
    eos_token_id, pad_token_id = 0, 1


def main(free_mib: str, rows: str, length: str) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    sizes = {"n_embd": 64, "n_head": 4, "n_layer": 2, "n_positions": CONTEXT, "initializer_range": 0.2}
    config = GPT2Config(vocab_size=67, bos_token_id=0, eos_token_id=0, pad_token_id=1, **sizes)
    model = AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    here = Base(model, NoTexts(), "tiny", "0" * 64, "1" * 64, 1, CONTEXT)
    prefixes = [Prefix.from_site(torch.randn(2, 2, 4, 2, 16)) for _ in range(int(rows))]
    sources = [[(7 * row + place) % 60 + 2 for place in range(int(length) - row)] for row in range(int(rows))]

    def decoded(count: int) -> list[list[int]]:
        decoding = Decoding(max_new_tokens=6, temperature=0.7, seed=3)
        return generate_each(here, prefixes[:count], sources[:count], decoding, count)

    decoded(1)
    logging.basicConfig(stream=sys.stderr)
    used = re.search(r"VmData:\s+(\d+)", Path("/proc/self/status").read_text())
    assert used is not None
    most = 1024 * int(used[1]) + int(free_mib) * 2**20
    resource.setrlimit(resource.RLIMIT_DATA, (most, resource.RLIM_INFINITY))
    try:
        tight: list[list[int]] | str = decoded(int(rows))
    except BaseModelError as problem:
        tight = str(problem)
    resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    sys.stdout.write(json.dumps(tight if isinstance(tight, str) else tight == decoded(int(rows))))


if __name__ == "__main__":
    main(*sys.argv[1:])
