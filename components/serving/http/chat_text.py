"""Separate the parts of a chat answer's text: thoughts before it, the text, and tool calls after it.

Works on whole texts and, for streams, piece by piece: what may still become thoughts or a tool call is held back.
Knows how a base writes tool calls; does not know the protocol or the engine.
"""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

from components.serving.interface import ToolCallForm

_THOUGHTS_START, _THOUGHTS_END = "<think>", "</think>"
_THOUGHTS = re.compile(rf"\s*{_THOUGHTS_START}.*?{_THOUGHTS_END}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ParsedCall:
    """A call of a tool; `arguments` is the text of a JSON object."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolCallParser:
    """Finds calls of these tools."""

    form: ToolCallForm
    names: frozenset[str]

    def parse(self, text: str) -> tuple[str, list[ParsedCall]]:
        """Return the text before the first call, and the calls."""
        calls: list[ParsedCall] = []
        content, place, decoder = text, 0, json.JSONDecoder()
        pattern = _compile(self.form)
        while (found := pattern.search(text, place)) is not None:
            place = found.end()
            try:
                arguments, end = decoder.raw_decode(text, place)
            except (ValueError, RecursionError):
                continue
            if found["name"] in self.names and isinstance(arguments, dict):
                content = content if calls else text[: found.start()].rstrip()
                calls.append(ParsedCall(found["name"], json.dumps(arguments, ensure_ascii=False)))
                place = end
        return content, calls

    def find_possible_start(self, text: str) -> int:
        """Return where a call may start that is not complete yet; the length of the text if nowhere."""
        head = _find_head(self.form)
        whole = text.find(head)
        if whole >= 0:
            return whole
        longest = min(len(head) - 1, len(text))
        return next((len(text) - n for n in range(longest, 0, -1) if text.endswith(head[:n])), len(text))


@dataclass(slots=True)
class ChatTextStream:
    """The text of one answer of a stream."""

    parser: ToolCallParser | None = None
    """None: no tool may be called."""
    text: str = ""
    """Everything so far."""
    _sent: int = 0
    """Characters of the visible text that were given."""

    def add(self, piece: str, *, is_last: bool) -> tuple[str, list[ParsedCall]]:
        """Add a piece; return the text that is final now, and with the last piece the calls."""
        self.text += piece
        if not is_last:
            visible = _remove_thoughts_so_far(self.text)
            end = len(visible) if self.parser is None else self.parser.find_possible_start(visible)
            end = max(len(visible[:end].rstrip()), self._sent)
            new, self._sent = visible[self._sent : end], end
            return new, []
        content, calls = split_answer(self.text, self.parser)
        return content[self._sent :], calls


def split_answer(text: str, parser: ToolCallParser | None) -> tuple[str, list[ParsedCall]]:
    """Return a whole answer's text without thoughts and calls, and the calls."""
    visible = remove_thoughts(text)
    return (visible, []) if parser is None else parser.parse(visible)


def make_parser(form: ToolCallForm | None, names: Collection[str]) -> ToolCallParser | None:
    """Return the parser of calls of these tools; None if there are none."""
    return ToolCallParser(form, frozenset(names)) if form is not None and names else None


def remove_thoughts(text: str) -> str:
    """Return an answer without the `<think>...</think>` that it begins with, as the evaluation does."""
    return _THOUGHTS.sub("", text, count=1).strip() if _THOUGHTS.match(text) else text


def _remove_thoughts_so_far(text: str) -> str:
    """Return the visible text of an answer that goes on: none while it may begin with thoughts."""
    start = text.lstrip()[: len(_THOUGHTS_START)]
    if not _THOUGHTS_START.startswith(start):
        return text
    return remove_thoughts(text) if _THOUGHTS_END in text else ""


@lru_cache(64)
def _compile(form: ToolCallForm) -> re.Pattern[str]:
    before = _make_flexible(form.before_name)
    if before.startswith(re.escape("[")):
        before = f"(?:{re.escape('[')})?{before[len(re.escape('[')) :]}"
    return re.compile(f"{before}(?P<name>[a-zA-Z0-9_-]{{1,64}}){_make_flexible(form.between)}")


def _make_flexible(text: str) -> str:
    """Return a pattern of the text in which white space may be other white space, or none."""
    return r"\s*".join(re.escape(part) for part in re.split(r"\s+", text))


def _find_head(form: ToolCallForm) -> str:
    return (form.before_name.split() or [form.before_name])[0]
