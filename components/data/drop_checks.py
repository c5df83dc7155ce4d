"""Checks a drop before it is used: which lines are valid examples, and why the others are not. Knows no version."""

import difflib
import errno
import json
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from components.config import DataConfig
from components.data.schema import SPLITS, Example, check_tenant_id, decode_line, parse_line, split_numbered_lines
from components.errors import DataError
from components.storage.atomic_files import remove_temporaries, write_atomic


@dataclass(frozen=True, slots=True)
class RejectedLine:
    """A line that is not a valid example: `file` is `<tenant>/<split>.jsonl`, `line` counts from 1."""

    file: str
    line: int
    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class FileStamp:
    """Identifies one delivered file at one time: a replaced or changed file has another stamp."""

    device: int
    inode: int
    size: int
    changed_ns: int

    @classmethod
    def from_status(cls, status: os.stat_result) -> "FileStamp":
        """Return the stamp of a file from its stat result."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


@dataclass(frozen=True)
class CheckedDrop:
    """A checked drop: the valid examples of each split, the rejected lines, and the stamps of the files read."""

    tenant: str
    accepted: dict[str, list[Example]]
    rejects: list[RejectedLine]
    stamps: dict[str, FileStamp] = field(default_factory=dict)

    @property
    def line_count(self) -> int:
        """Lines of the drop without blank ones."""
        return sum(map(len, self.accepted.values())) + len(self.rejects)

    def require_usable(self, limits: DataConfig) -> None:
        """Refuse the drop as a whole if too few of its lines are valid.

        Raises:
            DataError: a split has no valid example, or the share of rejects exceeds `limits.max_rejects`.

        """
        if len(self.rejects) > limits.max_rejects * self.line_count:
            first = self.rejects[0]
            got = f"{len(self.rejects)} of {self.line_count}; the first is {first.file}:{first.line}: {first.reason}"
            fix = "correct the lines (see the quarantine folder), or raise data.max_rejects"
            raise DataError(f"at most {limits.max_rejects:.0%} rejected lines in the drop of {self.tenant}", got, fix)
        for split, examples in self.accepted.items():
            if not examples:
                got = f"none in {self.tenant}/{split}.jsonl"
                raise DataError(
                    "at least one example in each split of a drop", got, "add examples to the file, or remove it"
                )

    def require_all_splits(self, data: Path) -> None:
        """Refuse the drop if its tenant would still lack a split.

        Raises:
            DataError: neither the drop nor the tenant's folder in `data` has one of the splits.

        """
        for split in SPLITS:
            path = data / self.tenant / f"{split}.jsonl"
            if not self.accepted.get(split) and not (path.is_file() and path.read_bytes().strip()):
                got = f"no {split} split in the drop of {self.tenant} and none in its data"
                wanted = "train, validation and test examples of every tenant"
                raise DataError(wanted, got, f"add {split}.jsonl to the drop")


def check_drop(folder: Path, limits: DataConfig) -> CheckedDrop:
    """Check the drop in `folder` (`drops/<tenant>`) line by line; an invalid line becomes a reject and no error.

    Hidden files and `*.tmp` are ignored, so that a file can be written under a temporary name and then renamed.

    Raises:
        DataError: the folder's name is not a tenant id, or it has no split file or other files.

    """
    tenant = check_tenant_id(folder.name, folder.parent)
    if not folder.is_dir() or folder.is_symlink():
        raise DataError(
            f"a drop of {tenant} as a folder", f"no folder {folder}", "put the files into <tenant>/<split>.jsonl"
        )
    names = list_delivered(folder)
    for name in names:
        if name.removesuffix(".jsonl") not in SPLITS or not name.endswith(".jsonl"):
            near = difflib.get_close_matches(name, [f"{split}.jsonl" for split in SPLITS], n=1, cutoff=0.5)
            fix = f"did you mean {near[0]!r}?" if near else "remove it"
            raise DataError("train.jsonl, validation.jsonl or test.jsonl", f"{tenant}/{name}", fix)
    if not names:
        raise DataError(
            f"a split file in the drop of {tenant}", "none", "add train.jsonl, validation.jsonl or test.jsonl"
        )
    report = CheckedDrop(tenant, accepted={}, rejects=[])
    for split in SPLITS:
        if f"{split}.jsonl" in names:
            _check_split(folder, split, limits, report)
    return report


def list_delivered(folder: Path) -> list[str]:
    """Return the sorted names in a drop's folder, without hidden files and `*.tmp`."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith(".") and path.suffix != ".tmp")


def quarantine_rejects(report: CheckedDrop, folder: Path) -> None:
    """Append a report's rejects to `<folder>/<tenant>/<split>.jsonl`; a reject that is already there is skipped.

    Raises:
        WorkspaceError: the disk is full; the earlier content is kept.

    """
    by_file: dict[str, list[RejectedLine]] = {}
    for reject in report.rejects:
        by_file.setdefault(reject.file, []).append(reject)
    for file, rejects in by_file.items():
        path = folder / file
        old = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        new = [_format_reject(reject) for reject in rejects]
        remove_temporaries(path)
        write_atomic(path, b"".join(remove_duplicates([*old, *new])))


def remove_duplicates(items: Iterable[bytes]) -> list[bytes]:
    """Return the items in their order without repetitions."""
    return list(dict.fromkeys(items))


def _check_split(folder: Path, split: str, limits: DataConfig, report: CheckedDrop) -> None:
    name = f"{report.tenant}/{split}.jsonl"
    try:
        content, status = _read_regular_file(folder / f"{split}.jsonl")
    except OSError as problem:
        got = f"{name}: {problem.strerror or problem}"
        raise DataError("a readable regular file", got, "replace the file in the drop") from None
    examples = report.accepted.setdefault(split, [])
    report.stamps[split] = FileStamp.from_status(status)
    for number, line in split_numbered_lines(content):
        try:
            examples.append(parse_line(decode_line(line), limits))
        except DataError as problem:
            report.rejects.append(RejectedLine(name, number, problem.got, line.decode("utf-8", "backslashreplace")))


def _read_regular_file(path: Path) -> tuple[bytes, os.stat_result]:
    # Does not block on a pipe and does not follow a link out of the drop.
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        with open(handle, "rb", closefd=False) as file:
            return file.read(), status
    finally:
        os.close(handle)


def _format_reject(reject: RejectedLine) -> bytes:
    values = {"file": reject.file, "line": reject.line, "reason": reject.reason, "text": reject.text}
    return json.dumps(values, ensure_ascii=True).encode() + b"\n"
