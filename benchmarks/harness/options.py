"""The options that benchmarks share, and the bases that they select."""

import argparse
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from harness.random_bases import SHAPES, write_base


def make_parser(about: str) -> argparse.ArgumentParser:
    """Make a parser with the shared options; `fill_options` sets those that are not passed."""
    made = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    extent = made.add_mutually_exclusive_group()
    extent.add_argument(
        "--quick", action="store_true", help="a tiny base and little work: a check that everything runs"
    )
    extent.add_argument("--full", action="store_true", help="the full measurement")
    made.add_argument("--shape", nargs="*", choices=SHAPES, help="GPT-2 shapes with random weights")
    made.add_argument("--base", nargs="*", type=Path, default=[], help="folders of bases to use instead")
    made.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("PREFIXFLEET_TEST_DATA") or None,
        help="folder with e2e-dataset.zip and gpt2-tokenizer/ (default: PREFIXFLEET_TEST_DATA); none: E2E's lengths",
    )
    made.add_argument("--batch-size", type=int, default=10)
    made.add_argument("--prefix-length", type=int, default=5)
    made.add_argument("--rounds", type=int)
    made.add_argument("--results", type=Path, help="append the figures to this file, as lines of JSON")
    return made


def fill_options(options: argparse.Namespace, presets: Mapping[str, Mapping[str, Any]]) -> argparse.Namespace:
    """Set the options that were not passed from the preset `quick`, `full` or `default`."""
    preset = "quick" if options.quick else "full" if options.full else "default"
    for name, value in presets[preset].items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    return options


@contextmanager
def make_bases(options: argparse.Namespace) -> Iterator[Sequence[Path]]:
    """Yield the folders of the bases to measure on; bases made by shape are removed afterwards."""
    with tempfile.TemporaryDirectory() as scratch:
        made = [] if options.base else [Path(scratch) / f"gpt2-{shape}" for shape in options.shape]
        for folder, shape in zip(made, options.shape, strict=False):
            write_base(folder, SHAPES[shape], options.data and options.data / "gpt2-tokenizer")
        yield options.base or made


def format_spread(values: Sequence[float], form: str = ".2f") -> str:
    """Format as `median [least, greatest]`."""
    return f"{median(values):{form}} [{min(values):{form}}, {max(values):{form}}]"
