"""What a tenant's splits become when a checked drop is appended: their new content, and what was left out and why.

A line that repeats an earlier line of the drop is a duplicate; of the others, one that the dataset already has is
known; the rest is new. Each is kept once. Knows no version.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from components.config import DataConfig
from components.data.drop_checks import CheckedDrop, trim_example
from components.data.overlaps import Overlap, find_overlaps
from components.data.schema import SPLITS, Example, format_line, read_split


@dataclass(frozen=True, slots=True)
class SplitCounts:
    """The valid lines of one split of a drop: `examples` = `duplicates` + `known` + `new`."""

    examples: int
    duplicates: int
    """Lines that repeat an earlier line of the same file."""
    known: int
    """Different lines that the dataset has already."""
    trimmed: int
    """Lines with a text that lost outer white space or got other line ends."""

    @property
    def new(self) -> int:
        """Lines that are appended to the dataset."""
        return self.examples - self.duplicates - self.known


@dataclass(frozen=True)
class DropFacts:
    """What a drop adds to its tenant's data."""

    counts: Mapping[str, SplitCounts]
    """For each split of the drop."""
    overlaps: Sequence[Overlap]
    """Between the tenant's splits afterwards."""

    def describe(self, *, all_splits: bool = False) -> str:
        """Return what was left out and changed, and the overlaps; "" if there is nothing to tell.

        `all_splits`: name every split of the drop.
        """
        parts = []
        for split, one in self.counts.items():
            changes = [
                f"{count:,} {words}"
                for count, words in (
                    (one.duplicates, "repeat another line of the drop"),
                    (one.known, "repeat the dataset"),
                    (one.trimmed, "trimmed"),
                )
                if count
            ]
            if changes or all_splits:
                parts.append(f"{split} {one.examples:,} lines: {', '.join([f'{one.new:,} new', *changes])}")
        return "; ".join([*parts, *(overlap.sentence for overlap in self.overlaps)])


@dataclass(frozen=True)
class MergedDrop:
    """A tenant's data with a drop appended."""

    facts: DropFacts
    contents: Mapping[str, bytes]
    """The new content of the splits that change; their old bytes are kept as a prefix."""
    examples: Mapping[str, list[Example]]
    """The examples of all splits afterwards."""


def merge_drop(report: CheckedDrop, folder: Path | None, limits: DataConfig) -> MergedDrop:
    """Append a checked drop to the tenant's splits in `folder`, in memory; None: there are none.

    Raises:
        DataError: a present split has an invalid line.

    """
    counts: dict[str, SplitCounts] = {}
    contents: dict[str, bytes] = {}
    merged: dict[str, list[Example]] = {}
    for split in SPLITS:
        path = None if folder is None else folder / f"{split}.jsonl"
        old = path.read_bytes() if path is not None and path.is_file() else b""
        present = read_split(path, limits) if path is not None and old.strip() else []
        merged[split] = present
        if split not in report.accepted:
            continue
        accepted = report.accepted[split]
        distinct = list(dict.fromkeys(accepted))
        known = {trim_example(example) for example in present}
        new = [example for example in distinct if example not in known]
        counts[split] = SplitCounts(
            len(accepted), len(accepted) - len(distinct), len(distinct) - len(new), report.trimmed.get(split, 0)
        )
        if new:
            gap = b"\n" if old and not old.endswith(b"\n") else b""
            contents[split] = b"".join([old, gap, *(format_line(example).encode() for example in new)])
            merged[split] = [*present, *new]
    return MergedDrop(DropFacts(counts, find_overlaps(merged)), contents, merged)
