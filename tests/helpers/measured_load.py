"""Print by how many bytes this process grows while it loads a base: `python measured_load.py FOLDER DTYPE`."""

import sys

import transformers.quantizers.auto  # noqa: F401 - what loading imports is not what it holds
from memory_growth import measure_growth

from components.config import BaseConfig
from components.model.base.load import load_base


def main(folder: str, dtype: str) -> None:
    _, grown = measure_growth(lambda: load_base(BaseConfig(path=folder, dtype=dtype), device="cpu"))
    sys.stdout.write(f"{grown}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
