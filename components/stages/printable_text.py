"""Text for a terminal or a log, without the characters that could control it. Knows no stream but its encoding."""

import re
from typing import TextIO

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""All control characters but tab and newline, and those that change the direction of text."""


def make_printable(text: str, stream: TextIO) -> str:
    """Return the text with escapes of Python's string literals for what the stream must not or cannot show."""
    escaped = _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)
    encoding = stream.encoding or "utf-8"
    return escaped.encode(encoding, "backslashreplace").decode(encoding)
