"""The figures of benchmarks as lines of JSON, from which `harness.gpu_report` makes one table. Knows no benchmark."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median


@dataclass(frozen=True, kw_only=True)
class Result:
    """One contender's figure."""

    part: str
    """What was done, on which base."""
    contender: str
    dtype: str
    """Of the matrix products."""
    tokens_per_s: float
    """Real tokens trained, or new tokens written, per second."""
    peer_ratio: float | None
    """How many times as fast as the fastest setting of `peft` in the same run; None: it did not run."""
    operations_per_s: float
    """Necessary operations of matrix products per second."""
    bytes_per_s: float
    """Bytes of weights that must be read per second: once in each forward and each backward pass."""
    peak_bytes: int


def append_results(file: Path | None, results: Iterable[Result]) -> None:
    """Append results to a file; without a file do nothing."""
    if file is not None:
        with file.open("a", encoding="utf-8") as lines:
            lines.writelines(json.dumps(asdict(result)) + "\n" for result in results)


def read_results(file: Path) -> list[Result]:
    """Return the results of a file; none if there is no file."""
    if not file.is_file():
        return []
    return [Result(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]


def find_peer_ratio(seconds: Sequence[float], peers: Sequence[Sequence[float]]) -> float | None:
    """Return how many times as fast the contender is as the fastest peer; seconds of the same work, by round."""
    return min((median(one) for one in peers), default=0.0) / median(seconds) or None
