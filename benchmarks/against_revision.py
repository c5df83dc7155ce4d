"""The speed of this revision compared with an earlier one: packed training, decoding and serving on GPT-2's shape.

    python benchmarks/against_revision.py [REVISION] [--quick | --full] [--parts training ...] [--least 0.97]

REVISION (default: the one before conversations and today's bases) is checked out in a temporary folder and runs in this
environment. Both run the same work in processes of their own, in alternating rounds. A ratio is the earlier revision's
seconds over this one's: below 1, this one is slower. With `--least`, the exit code is 1 if a median is below it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from harness.checkouts import PROJECT, run_command
from harness.options import format_spread
from harness.random_bases import SHAPES, write_base
from harness.revision_process import PARTS

BEFORE_CHAT = "6c4b3d8^"
DRIVER = Path(__file__).parent / "harness" / "revision_process.py"
PRESETS = {
    "quick": ("tiny", 2, {"training": 2, "decoding": 8, "serving": 16}),
    "default": ("small", 5, {"training": 3, "decoding": 16, "serving": 24}),
    "full": ("small", 15, {"training": 6, "decoding": 64, "serving": 64}),
}
"""Shape of the base, number of rounds, and the work of a part in a round: steps, inputs, requests."""
Seconds = tuple[float, float]
"""By the wall clock, and of the processor."""


def main() -> None:
    """Print a line for each part."""
    parser = argparse.ArgumentParser(description=str(__doc__), formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revision", nargs="?", default=BEFORE_CHAT)
    extent = parser.add_mutually_exclusive_group()
    extent.add_argument("--quick", action="store_true", help="a tiny base: a check that everything runs")
    extent.add_argument("--full", action="store_true", help="more rounds of more work")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--least", type=float, help="exit 1 if a median ratio is below this")
    chosen = parser.parse_args()
    shape, rounds, work = PRESETS["quick" if chosen.quick else "full" if chosen.full else "default"]
    with tempfile.TemporaryDirectory() as scratch, check_out(chosen.revision, Path(scratch) / "then") as then:
        folder = Path(scratch) / f"gpt2-{shape}"
        write_base(folder, SHAPES[shape], None)
        now, load = run_command(PROJECT, "git", "describe", "--always", "--dirty").strip(), os.getloadavg()[0]
        print(f"{now} compared with {chosen.revision} on {folder.name}, {rounds} rounds; load average {load:.1f}")
        medians = [
            print_ratios(part, measure(part, {"then": then, "now": PROJECT}, folder, rounds, work[part]))
            for part in chosen.parts
        ]
    if chosen.least is not None and min(medians) < chosen.least:
        raise SystemExit(f"below {chosen.least}: {min(medians):.3f}")


@contextmanager
def check_out(revision: str, folder: Path) -> Iterator[Path]:
    """Yield a checkout of `revision`, which is removed afterwards."""
    run_command(PROJECT, "git", "worktree", "add", "--quiet", "--detach", str(folder), revision)
    try:
        yield folder
    finally:
        run_command(PROJECT, "git", "worktree", "remove", "--force", str(folder))


def measure(part: str, checkouts: Mapping[str, Path], folder: Path, rounds: int, work: int) -> dict[str, list[Seconds]]:
    """Return the seconds of each round for each checkout; who goes first alternates."""
    settings = json.dumps({"folder": str(folder), "rounds": rounds, "work": work})
    seconds: dict[str, list[Seconds]] = {name: [] for name in checkouts}
    with ExitStack() as stack:
        processes = {}
        for name, checkout in checkouts.items():
            processes[name] = stack.enter_context(_start(part, checkout, settings))
            _read_turn(processes[name], name)
        for number in range(rounds):
            for name in list(checkouts) if number % 2 else list(checkouts)[::-1]:
                _let_run(processes[name])
                seconds[name].append(_read_turn(processes[name], name))
        for process in processes.values():
            _let_run(process)
    return seconds


def print_ratios(part: str, seconds: Mapping[str, Sequence[Seconds]]) -> float:
    """Print the ratios of a part, and return the median by the wall clock."""
    pairs = list(zip(seconds["then"], seconds["now"], strict=True))
    wall, processor = ([then[clock] / now[clock] for then, now in pairs] for clock in (0, 1))
    each = median(now[0] for _, now in pairs)
    print(
        f"{part:9} {format_spread(wall, '.3f')}, of the processor {format_spread(processor, '.3f')}; {each:.2f} s now"
    )
    return median(wall)


@contextmanager
def _start(part: str, checkout: Path, settings: str) -> Iterator["subprocess.Popen[str]"]:
    path = os.pathsep.join(map(str, (checkout, checkout / "benchmarks")))
    variables = {**os.environ, "PYTHONPATH": path, "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-P", str(DRIVER), part, str(checkout), settings]
    with subprocess.Popen(
        command, cwd=checkout, env=variables, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            yield process
        finally:
            if sys.exc_info()[0] is not None:
                process.kill()


def _let_run(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def _read_turn(process: "subprocess.Popen[str]", name: str) -> Seconds:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"the process of {name} failed; the traceback is above")
    wall, processor = json.loads(line) or (0.0, 0.0)
    return wall, processor


if __name__ == "__main__":
    main()
