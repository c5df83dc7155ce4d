"""Read JSON from a client: bounded before anything is built from it, in time that grows with its length only.

Without a bound, one body of 1 MB becomes half a million Python objects. Knows JSON; does not know requests.
"""

import json
import re
from typing import Any

from components.serving.errors import RefusalError

MAX_DEPTH = 32
"""Lists and objects within each other; a request of the API needs four."""
_NO_BRACKETS = re.compile(r"[^\[\]{}]+")
_TO_LISTS = str.maketrans("{}", "[]")


def parse_json(content: bytes, max_values: int) -> Any:
    """Return the value of a body.

    Raises:
        RefusalError: 400, not JSON in UTF-8, more than `max_values` values (keys count), or nested too deeply.
    """
    try:
        text = content.decode("utf-8-sig")
        _check_structure(text, max_values)
        return json.loads(text)
    except json.JSONDecodeError as problem:
        got = f"{problem.msg}, at character {problem.pos}"
        raise RefusalError(400, "a body in JSON", got, "correct the body", code="invalid_json") from None
    except UnicodeDecodeError:
        beats = "a body in JSON, encoded as UTF-8", "a body that cannot be decoded", "correct the body"
        raise RefusalError(400, *beats, code="invalid_json") from None
    except ValueError:  # int() refuses numbers of more than 4,300 digits
        beats = "numbers of at most 4,300 digits", "a number of thousands of digits", "correct the body"
        raise RefusalError(400, *beats, code="invalid_json") from None


def _check_structure(text: str, max_values: int) -> None:
    """Count values by their separators outside of strings, without building one object a value."""
    unescaped = text.replace("\\\\", "").replace('\\"', "") if "\\" in text else text
    if unescaped.count('"') > 2 * max_values:
        raise _make_size_error(max_values)
    structure = "".join(unescaped.split('"')[::2])
    if max(sum(map(structure.count, "[{,:")) + 1, sum(map(structure.count, "]}"))) > max_values:
        raise _make_size_error(max_values)
    if _is_too_deep(_NO_BRACKETS.sub("", structure)):
        wanted = f"at most {MAX_DEPTH} lists and objects within each other"
        raise RefusalError(400, wanted, "more", "correct the body", code="invalid_json")


def _is_too_deep(brackets: str) -> bool:
    """Return whether brackets are nested more than `MAX_DEPTH` deep: each round removes the innermost pairs."""
    brackets = brackets.translate(_TO_LISTS)
    for depth in range(MAX_DEPTH + 1):
        inner = brackets.replace("[]", "")
        if inner == brackets:
            return depth + brackets.count("[") > MAX_DEPTH  # what is left is not closed
        brackets = inner
    return True


def _make_size_error(max_values: int) -> RefusalError:
    wanted = f"at most {max_values} values in a body (keys, texts, numbers, lists, objects)"
    return RefusalError(400, wanted, f"more than {max_values}", "send several requests", code="too_large")
