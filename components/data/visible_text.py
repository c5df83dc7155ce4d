"""Which texts show anything, and the outer white space that a drop's texts lose. Knows no example and no file."""

import unicodedata

_INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Mn", "Mc", "Me", "Zs", "Zl", "Zp"})
_BLANK_LETTERS = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and symbols that are drawn as nothing: Hangul fillers and the empty Braille pattern."""
_RESERVED_INVISIBLE = ((0x2065, 0x2065), (0xFDD0, 0xFDEF), (0xFFF0, 0xFFF8), (0xE0000, 0xE0FFF))
"""Unassigned code points that Unicode reserves for invisible characters, and noncharacters."""


def has_visible_text(text: str) -> bool:
    """Return whether a character of the text can be seen.

    White space, control and format characters (NUL, U+200B, U+FEFF), and combining marks alone cannot.
    """
    return any(map(_is_visible, text))


def trim_text(text: str) -> str:
    r"""Return the text without outer white space and with `\n` for each `\r\n`; everything else stays, also NFC or not.

    The form ` | subject : property : object` begins with a space, which is kept.
    """
    kept = text.replace("\r\n", "\n").strip()
    return f" {kept}" if kept.startswith("| ") and text.startswith(" | ") else kept


def _is_visible(character: str) -> bool:
    if character.isalnum() and character not in _BLANK_LETTERS:
        return True
    code = ord(character)
    if unicodedata.category(character) in _INVISIBLE_CATEGORIES or character in _BLANK_LETTERS:
        return False
    return code & 0xFFFE != 0xFFFE and not any(low <= code <= high for low, high in _RESERVED_INVISIBLE)
