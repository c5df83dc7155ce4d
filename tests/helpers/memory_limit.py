"""Run a test program in a process of its own, and limit the memory of a part of it.

The test calls `run_program`; the program uses `make_base`, `limit_memory` and `print_result`. Linux only.
"""

import json
import logging
import os
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).parents[2]
CONTEXT = 4096
_LIMITS = {"data": (resource.RLIMIT_DATA, "VmData"), "address space": (resource.RLIMIT_AS, "VmSize")}


def run_program(program: Path, *arguments: object) -> Any:
    """Run a Python program that calls `print_result`. Return that result."""
    # With a fixed threshold, glibc returns large freed blocks to the system, so they no longer count against a limit.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    command = [sys.executable, str(program), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def print_result(result: Any) -> None:
    """Print the program's result as JSON."""
    sys.stdout.write(json.dumps(result))


@contextmanager
def limit_memory(free_mib: int, kind: str = "data") -> Iterator[list[str]]:
    """Inside, this process may use `free_mib` MiB more than now, of its data or of its address space.

    Yields the list of messages that are logged inside.
    """
    recorder = _Recorder()
    logging.getLogger().addHandler(recorder)
    limit, field = _LIMITS[kind]
    used = re.search(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text())
    assert used is not None
    resource.setrlimit(limit, (1024 * int(used[1]) + free_mib * 2**20, resource.RLIM_INFINITY))
    try:
        yield recorder.messages
    finally:
        resource.setrlimit(limit, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        logging.getLogger().removeHandler(recorder)


class _Recorder(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def make_base(*, width: int = 64, layers: int = 2) -> Any:
    """Make a random GPT-2 base with a context of `CONTEXT` tokens and no texts; torch uses one thread."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    from components.model.base.load import Base

    torch.set_num_threads(1)
    torch.manual_seed(0)
    sizes = {"n_embd": width, "n_head": 4, "n_layer": layers, "n_positions": CONTEXT, "initializer_range": 0.2}
    config = GPT2Config(vocab_size=67, bos_token_id=0, eos_token_id=0, pad_token_id=1, **sizes)
    model = GPT2LMHeadModel(config).eval().requires_grad_(False)
    tokenizer = SimpleNamespace(eos_token_id=0, pad_token_id=1)
    return Base(model, tokenizer, "tiny", "0" * 64, "1" * 64, 1, CONTEXT)
