"""Loads the base in a folder and prints by how many bytes this process's own memory grew at most meanwhile.

    python measured_load.py FOLDER DTYPE

Pages of files that are only mapped do not count: the system may drop them at any time.
"""

import re
import sys
import threading
from pathlib import Path

import transformers.quantizers.auto  # noqa: F401 - what loading imports is not what it holds

from components.config import BaseConfig
from components.model.base.load import load_base


def read_own_bytes() -> int:
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(re.search(r"RssAnon:\s+(\d+)", text)[1])


def main(folder: str, dtype: str) -> None:
    samples, ended = [read_own_bytes()], threading.Event()

    def watch() -> None:
        while not ended.wait(0.002):
            samples.append(read_own_bytes())

    thread = threading.Thread(target=watch)
    thread.start()
    base = load_base(BaseConfig(path=folder, dtype=dtype), device="cpu")
    ended.set()
    thread.join()
    del base
    sys.stdout.write(f"{max(samples) - samples[0]}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
