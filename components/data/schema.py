"""Examples, and the format of a split on disk: UTF-8, one JSON object per line. Knows no drop and no tokenizer."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.config import TENANT_ID, DataConfig
from components.data.conversations import CHAT_KEYS, Conversation, parse_conversation
from components.data.visible_text import has_visible_text
from components.errors import DataError
from components.storage.atomic_files import write_atomic

SPLITS: tuple[str, ...] = ("train", "validation", "test")

MAX_SLICE_CHARS = 64
ALL_SLICE = "all"
"""The slice of the whole split, which every report has; no example may use this name."""

_LINE_KEYS = ("source", "references", "slice")
_CHAT_LINE_KEYS = (*CHAT_KEYS, "slice")
_LINE_FORMAT = 'a line {"source": str, "references": [str, ...], "slice": str?} or {"messages": [...], "tools": [...]?}'


@dataclass(frozen=True, slots=True)
class Example:
    """One input with its correct outputs; `slice` names the part of the split whose metrics it counts in, if any.

    A conversation's source is the JSON of the messages before its last, the answer, which is its reference.
    """

    source: str
    references: tuple[str, ...]
    slice: str | None = None
    chat: str | None = None
    """The JSON of the whole conversation; None for a pair."""

    @classmethod
    def from_conversation(cls, conversation: Conversation, part: str | None = None) -> "Example":
        """Return the example of a conversation; `part` is its slice."""
        return cls(conversation.prompt.to_json(), (conversation.answer,), part, conversation.to_json())

    @property
    def conversation(self) -> Conversation | None:
        """The conversation; None for a pair."""
        return None if self.chat is None else Conversation.from_json(self.chat)

    @property
    def input_texts(self) -> list[str]:
        """The source, or the contents of a conversation's messages before the answer."""
        conversation = self.conversation
        return [self.source] if conversation is None else conversation.texts

    @property
    def shown_input(self) -> str:
        """The last of `input_texts`, for people."""
        texts = self.input_texts
        return texts[-1] if texts else ""


def check_tenant_id(text: str, folder: Path | None = None) -> str:
    """Return `text` if it is a DNS label; `folder` is its parent folder, for the message.

    Raises:
        DataError: it is not a DNS label; never use it as a path.

    """
    if not TENANT_ID.fullmatch(text):
        shown = text if len(text) <= 80 else f"{text[:77]}..."
        got = repr(shown) if folder is None else f"{shown!r} in {folder}"
        fix = "use a-z, 0-9 and inner '-', at most 63 characters"
        raise DataError("a tenant id that is a DNS label", got, fix)
    return text


def find_problem(example: Example, limits: DataConfig) -> str | None:
    """Return why an example is invalid (nothing visible, too long, not encodable in UTF-8); None if it is valid."""
    if not example.source and example.chat is not None:
        return _find_chat_problem(example.chat)
    if any(_is_unwritable(text) for text in _list_written_texts(example)):
        return "a lone surrogate (half of a \\u pair), which UTF-8 cannot encode"
    source = "source" if example.chat is None else "the conversation before the answer (as JSON)"
    if not has_visible_text(example.source):
        return f"source is empty{_describe_invisible(example.source)}"
    if len(example.source) > limits.max_source_chars:
        limit = f"data.max_source_chars={limits.max_source_chars}"
        return f"{source} has {len(example.source)} characters, more than {limit}"
    if not example.references:
        return "no reference"
    if len(example.references) > limits.max_references:
        return f"{len(example.references)} references, more than data.max_references={limits.max_references}"
    for number, reference in enumerate(example.references, start=1):
        name = f"reference {number}" if example.chat is None else "the answer"
        if not has_visible_text(reference):
            return f"{name} is empty{_describe_invisible(reference)}"
        if len(reference) > limits.max_reference_chars:
            limit = f"data.max_reference_chars={limits.max_reference_chars}"
            return f"{name} has {len(reference)} characters, more than {limit}"
    if example.slice is not None:
        if not has_visible_text(example.slice) or len(example.slice) > MAX_SLICE_CHARS:
            return f"slice is blank or longer than {MAX_SLICE_CHARS} characters"
        if example.slice == ALL_SLICE:
            return f"slice {ALL_SLICE!r} is reserved for the whole split"
    return None


def parse_line(text: str, limits: DataConfig) -> Example:
    """Read one line of a split file.

    Raises:
        DataError: as `decode_example`, or `find_problem` finds a problem; `got` is the reason.

    """
    return require_valid(decode_example(text), limits)


def require_valid(example: Example, limits: DataConfig) -> Example:
    """Return the example. Raises DataError if `find_problem` finds a problem, which is its `got`."""
    if reason := find_problem(example, limits):
        raise DataError(_LINE_FORMAT, reason, "correct the line or the limits in params.yaml")
    return example


def decode_example(text: str) -> Example:
    """Read one line of a split file, a pair or a conversation, without checking the lengths of its texts.

    Raises:
        DataError: the line is not a JSON object, a key is unknown or missing, a type is wrong, or the roles of messages
            are out of order; `got` is the reason.

    """
    try:
        values = json.loads(text, object_pairs_hook=_refuse_duplicate_keys)
    except (ValueError, RecursionError) as problem:
        cause = f"{problem.msg}, column {problem.colno}" if isinstance(problem, json.JSONDecodeError) else str(problem)
        raise DataError(_LINE_FORMAT, f"broken JSON: {cause}", "correct the line") from None
    if not isinstance(values, dict):
        raise DataError(_LINE_FORMAT, f"JSON of type {type(values).__name__}", "write one object per line")
    known = _CHAT_LINE_KEYS if "messages" in values else _LINE_KEYS
    if unknown := sorted(set(values) - set(known)):
        raise DataError(_LINE_FORMAT, f"unknown key {unknown[0]!r}", f"use only {', '.join(known)}")
    if "messages" in values:
        conversation = parse_conversation(values["messages"], values.get("tools"))
        return Example.from_conversation(conversation, _read_optional_string(values, "slice"))
    return Example(
        _read_string(values, "source"), _read_strings(values, "references"), _read_optional_string(values, "slice")
    )


def split_numbered_lines(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (number from 1, line) of the lines that are not blank; only a line feed ends a line (U+2028 does not)."""
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if line.strip():
            yield number, line


def decode_line(line: bytes) -> str:
    """Decode one line.

    Raises:
        DataError: it is not UTF-8.

    """
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as problem:
        got = f"not UTF-8: byte 0x{line[problem.start]:02x} at column {problem.start + 1}"
        raise DataError("text in UTF-8", got, "save the file as UTF-8") from None


def read_split(path: Path, limits: DataConfig) -> list[Example]:
    """Return all examples of a split file in their order.

    Raises:
        DataError: the file is missing or has no example, or a line is invalid (named as file:line).

    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DataError("a split file", f"no file {path}", "run `dvc pull`, or add the split as a drop") from None
    except OSError as problem:
        raise DataError(
            "a readable split file", f"{path}: {problem.strerror}", "correct the file's permissions"
        ) from None
    examples = []
    for number, line in split_numbered_lines(content):
        try:
            examples.append(parse_line(decode_line(line), limits))
        except DataError as problem:
            raise DataError(problem.wanted, f"{path}:{number}: {problem.got}", problem.fix) from None
    if not examples:
        raise DataError("at least one example in a split", f"none in {path}", "add examples for it as a drop")
    return examples


def format_line(example: Example) -> str:
    """Return an example's line with its line feed; the same example always gives the same text."""
    values: dict[str, Any] = {"source": example.source, "references": list(example.references)}
    if example.chat is not None:
        values = json.loads(example.chat)
    if example.slice is not None:
        values["slice"] = example.slice
    return json.dumps(values, ensure_ascii=False) + "\n"


def write_split(path: Path, examples: Iterable[Example]) -> None:
    """Write a split file atomically and create its folders. Examples are not checked against any limits.

    Raises:
        DataError: UTF-8 cannot encode a text.
        WorkspaceError: the disk is full; the old file is kept.

    """
    try:
        content = "".join(map(format_line, examples)).encode("utf-8")
    except UnicodeEncodeError as problem:
        fix = "remove this character, half of a surrogate pair"
        raise DataError("text that UTF-8 can encode", f"{problem.object[problem.start]!r} for {path}", fix) from None
    write_atomic(path, content)


def list_tenants(data: Path) -> list[str]:
    """Return the sorted tenants of a data folder without hidden entries; none if the folder is missing.

    Raises:
        DataError: an entry is not a folder, or its name is not a tenant id.

    """
    if not data.is_dir():
        return []
    entries = sorted(entry for entry in data.iterdir() if not entry.name.startswith("."))
    for entry in entries:
        check_tenant_id(entry.name, data)
        if not entry.is_dir():
            raise DataError(
                f"only tenants' folders in {data}", f"the file {entry.name}", "move the file to another folder"
            )
    return [entry.name for entry in entries]


def _read_string(values: dict[str, Any], key: str) -> str:
    if not isinstance(value := values.get(key), str):
        got = f"{key} of type {type(value).__name__}" if key in values else f"no key {key!r}"
        raise DataError(_LINE_FORMAT, got, f"write {key} as a string")
    return value


def _read_optional_string(values: dict[str, Any], key: str) -> str | None:
    return None if values.get(key) is None else _read_string(values, key)


def _read_strings(values: dict[str, Any], key: str) -> tuple[str, ...]:
    value = values.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise DataError(_LINE_FORMAT, f"{key} is not a list of strings", f"write {key} as a list of strings")
    return tuple(value)


def _refuse_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("duplicate key")
    return values


def _describe_invisible(text: str) -> str:
    kept = text.strip()
    return f" (only invisible characters, the first is U+{ord(kept[0]):04X})" if kept else ""


def _find_chat_problem(chat: str) -> str | None:
    """Return why an imported row is no conversation."""
    values = json.loads(chat)
    try:
        parse_conversation(values["messages"], values.get("tools"))
    except DataError as problem:
        return problem.got
    return None


def _list_written_texts(example: Example) -> tuple[str, ...]:
    return (example.source, *example.references, example.slice or "", example.chat or "")


def _is_unwritable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False
