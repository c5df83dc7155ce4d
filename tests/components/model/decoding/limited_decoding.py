"""A program: decode rows under a memory limit, then without it; print whether the outputs agree, or the error.

`python limited_decoding.py FREE_MIB,ROWS,LENGTH...` decodes ROWS rows of about LENGTH source tokens in one batch.
"""

import sys
from typing import Any

import torch
from memory_limit import limit_memory, make_base, print_result

from components.errors import BaseModelError
from components.model.decoding import Decoding, generate_each
from components.model.prefix.prefix import Prefix


def decode_limited(base: Any, free_mib: int, rows: int, length: int) -> dict[str, Any]:
    prefixes = [Prefix.from_site(torch.randn(2, 2, 4, 2, 16)) for _ in range(rows)]
    sources = [[(7 * row + place) % 60 + 2 for place in range(length - row)] for row in range(rows)]

    def generate(count: int) -> list[list[int]]:
        decoding = Decoding(max_new_tokens=6, temperature=0.7, seed=3)
        return generate_each(base, prefixes[:count], sources[:count], decoding, count)

    generate(1)  # what the first call allocates for good does not count
    with limit_memory(free_mib) as messages:
        try:
            limited: list[list[int]] | str = generate(rows)
        except BaseModelError as problem:
            limited = str(problem)
    return {"outcome": limited if isinstance(limited, str) else limited == generate(rows), "log": messages}


def main(*cases: str) -> None:
    base = make_base()
    print_result([decode_limited(base, *map(int, case.split(","))) for case in cases])


if __name__ == "__main__":
    main(*sys.argv[1:])
