"""Records as sources: `{"name": "Blue Spice", "food": "Thai"}` as the text that a tenant's data write it as.

A form is written as an example of itself: `key : value | key : value`. It is found by looking at sources, and applied
to records. Knows no tenant and no file.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from components.errors import DataError

DEFAULT_FORM = "key : value | key : value"
"""That of the E2E importer and of the built-in tenants."""

_FORM_PATTERN = re.compile(r"(?P<lead>.*?)key(?P<within>.+?)value(?P<between>.+)key(?P=within)value", re.DOTALL)
_KNOWN_FORMS = (
    DEFAULT_FORM,
    "key: value | key: value",
    "key: value; key: value",
    "key: value\nkey: value",
    "key=value key=value",
)
_MIN_FITTING_SHARE = 0.9  # of the sources

RecordValue = str | int | float
SourceRecord = Mapping[str, RecordValue | Sequence[RecordValue]]


def detect_form(sources: Iterable[str]) -> str | None:
    """The known form that nine tenths of the sources are written in; None where they are in none.

    A source of one field alone shows no separator, and does not speak for a form.
    """
    texts = list(sources)
    for form in _KNOWN_FORMS:
        _, within, between = _split_form(form)
        fitting = sum(
            between in text
            and all(within in field for field in text.split(between))
            and "\n" not in text.replace(between, "")
            for text in texts
        )
        if texts and fitting >= _MIN_FITTING_SHARE * len(texts):
            return form
    return None


def linearize_record(record: SourceRecord, form: str = DEFAULT_FORM) -> str:
    """A record as a source; white space in a value becomes one space, and a key with many values stands once for each.

    Raises:
        DataError: the record is empty, or `form` is none.
    """
    lead, within, between = _split_form(form)
    fields = [
        f"{_to_one_line(key)}{within}{_to_one_line(value)}"
        for key, values in record.items()
        for value in ([values] if isinstance(values, RecordValue) else values)
    ]
    if not fields:
        raise DataError("a record with at least one field", "an empty one", "give keys and values")
    return lead + between.join(fields)


def _split_form(form: str) -> tuple[str, str, str]:
    found = _FORM_PATTERN.fullmatch(form)
    if found is None:
        raise DataError(f"a form as {DEFAULT_FORM!r}", repr(form), "write it so, with the tenant's own separators")
    return found["lead"], found["within"], found["between"]


def _to_one_line(value: RecordValue) -> str:
    return " ".join(str(value).split())
