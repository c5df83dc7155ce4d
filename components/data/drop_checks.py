"""Checks a drop before it is used: which lines are valid examples, and why the others are not. Knows no version."""

import difflib
import errno
import json
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from components.config import DataConfig
from components.data.file_hints import find_line_hint, find_whole_file_problem
from components.data.schema import (
    SPLITS,
    Example,
    check_tenant_id,
    decode_example,
    decode_line,
    require_valid,
    split_numbered_lines,
)
from components.data.visible_text import trim_text
from components.errors import DataError
from components.storage.atomic_files import convert_disk_errors, remove_temporaries, write_atomic


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
    """A checked drop: the valid examples of each split with trimmed texts, and what else its files hold."""

    tenant: str
    accepted: dict[str, list[Example]]
    rejects: list[RejectedLine]
    stamps: dict[str, FileStamp] = field(default_factory=dict)
    """Of the files read."""
    trimmed: dict[str, int] = field(default_factory=dict)
    """Split -> valid lines with a text that lost outer white space or got other line ends."""
    unreadable: dict[str, DataError] = field(default_factory=dict)
    """File -> why none of its lines can be an example, such as another format or encoding."""
    hints: dict[str, str] = field(default_factory=dict)
    """File -> what its first rejected line probably is, and how to convert the file."""

    @property
    def line_count(self) -> int:
        """Lines of the drop without blank ones."""
        return sum(map(len, self.accepted.values())) + len(self.rejects)

    def require_usable(self, limits: DataConfig) -> None:
        """Refuse the drop as a whole if too few of its lines are valid.

        Raises:
            DataError: a file has another format, a split has no valid example, or the share of rejects exceeds
                `limits.max_rejects`.

        """
        for problem in self.unreadable.values():
            raise problem
        if len(self.rejects) > limits.max_rejects * self.line_count:
            first = self.rejects[0]
            got = f"{len(self.rejects)} of {self.line_count}; the first is {first.file}:{first.line}: {first.reason}"
            fix = (
                self.hints.get(first.file) or "correct the lines (see the quarantine folder), or raise data.max_rejects"
            )
            raise DataError(f"at most {limits.max_rejects:.0%} rejected lines in the drop of {self.tenant}", got, fix)
        for split, examples in self.accepted.items():
            if not examples:
                got = f"none in {self.tenant}/{split}.jsonl"
                raise DataError(
                    "at least one example in each split of a drop", got, "add examples to the file, or remove it"
                )

    def require_all_splits(self, present: Path | None) -> None:
        """Refuse the drop if its tenant would still lack a split; `present`: the tenant's folder, None without one.

        Raises:
            DataError: neither the drop nor the tenant's folder has one of the splits.

        """
        for split in SPLITS:
            path = None if present is None else present / f"{split}.jsonl"
            if not self.accepted.get(split) and not (path and path.is_file() and path.read_bytes().strip()):
                got = f"no {split} split in the drop of {self.tenant} and none in its data"
                wanted = "train, validation and test examples of every tenant"
                raise DataError(wanted, got, f"add {split}.jsonl to the drop")


def check_drop(folder: Path, limits: DataConfig, *, follow_links: bool = False) -> CheckedDrop:
    """Check the drop in `folder` (`drops/<tenant>`) line by line; an invalid line becomes a reject and no error.

    Hidden files and `*.tmp` are ignored, so that a file can be written under a temporary name and then renamed.
    `follow_links`: for a tenant's data, whose files may be links into DVC's cache.

    Raises:
        DataError: the folder's name is not a tenant id, or it has no split file or other files.

    """
    tenant = check_tenant_id(folder.name, folder.parent)
    if folder.is_symlink() and not follow_links:
        fix = "replace the link by a folder with the files"
        raise DataError(f"a drop of {tenant} as a folder", f"the symbolic link {folder}", fix)
    if not folder.is_dir():
        raise DataError(
            f"a drop of {tenant} as a folder", f"no folder {folder}", "put the files into <tenant>/<split>.jsonl"
        )
    try:
        names = list_delivered(folder)
    except OSError as problem:
        fix = "correct its permissions"
        raise DataError(f"a readable drop of {tenant}", f"{folder}: {problem.strerror}", fix) from None
    for name in names:
        if name.removesuffix(".jsonl") not in SPLITS or not name.endswith(".jsonl"):
            near = difflib.get_close_matches(name, [f"{split}.jsonl" for split in SPLITS], n=1, cutoff=0.5)
            fix = f"did you mean {near[0]!r}?" if near else "remove it"
            raise DataError("train.jsonl, validation.jsonl or test.jsonl", f"{tenant}/{show_name(name)}", fix)
    if not names:
        raise DataError(
            f"a split file in the drop of {tenant}", "none", "add train.jsonl, validation.jsonl or test.jsonl"
        )
    report = CheckedDrop(tenant, accepted={}, rejects=[])
    for split in SPLITS:
        if f"{split}.jsonl" in names:
            _check_split(folder, split, limits, report, os.O_RDONLY if follow_links else os.O_RDONLY | os.O_NOFOLLOW)
    return report


def list_delivered(folder: Path) -> list[str]:
    """Return the sorted names in a drop's folder, without hidden files and `*.tmp`."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith(".") and path.suffix != ".tmp")


def show_name(name: str) -> str:
    """Return a file name for people, with escapes for control characters and bytes that are not UTF-8."""
    return name if name.isprintable() else repr(name)[1:-1]


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
        with convert_disk_errors(f"read {path}"):
            old = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        new = [_format_reject(reject) for reject in rejects]
        remove_temporaries(path)
        write_atomic(path, b"".join(remove_duplicates([*old, *new])))


def group_rejects(rejects: Iterable[RejectedLine]) -> list[list[RejectedLine]]:
    """Return the rejects in groups of the same file and kind of reason: numbers and quoted parts do not matter."""
    groups: dict[tuple[str, str], list[RejectedLine]] = {}
    for reject in rejects:
        kind = re.sub(r"0x[0-9a-f]+|U\+[0-9A-F]+|\d[\d,]*|'[^']*'", "#", reject.reason)
        groups.setdefault((reject.file, kind), []).append(reject)
    return list(groups.values())


def remove_duplicates(items: Iterable[bytes]) -> list[bytes]:
    """Return the items in their order without repetitions."""
    return list(dict.fromkeys(items))


def trim_example(example: Example) -> Example:
    """Return an example with trimmed texts, as `trim_text` does."""
    part = None if example.slice is None else trim_text(example.slice)
    if (conversation := example.conversation) is not None:
        return Example.from_conversation(conversation.trim(), part)
    return Example(trim_text(example.source), tuple(map(trim_text, example.references)), part)


def _check_split(folder: Path, split: str, limits: DataConfig, report: CheckedDrop, flags: int) -> None:
    name = f"{report.tenant}/{split}.jsonl"
    try:
        content, status = _read_regular_file(folder / f"{split}.jsonl", flags)
    except OSError as problem:
        cause = "a symbolic link" if problem.errno == errno.ELOOP else problem.strerror or problem
        got = f"{name}: {cause}"
        raise DataError("a readable regular file", got, "replace the file in the drop") from None
    report.stamps[split] = FileStamp.from_status(status)
    if other_format := find_whole_file_problem(name, content):
        report.unreadable[name] = other_format
        return
    examples = report.accepted.setdefault(split, [])
    trimmed = 0
    for number, line in split_numbered_lines(content):
        try:
            given = decode_example(decode_line(line))
            examples.append(require_valid(trim_example(given), limits))
            trimmed += given != examples[-1]
        except DataError as rejection:
            if name not in report.hints:
                report.hints[name] = find_line_hint(line)
            report.rejects.append(RejectedLine(name, number, rejection.got, line.decode("utf-8", "backslashreplace")))
    report.trimmed[split] = trimmed


def _read_regular_file(path: Path, flags: int) -> tuple[bytes, os.stat_result]:
    handle = os.open(path, flags | os.O_NONBLOCK)  # does not block on a pipe
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
