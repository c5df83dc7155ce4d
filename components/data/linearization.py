"""Turns records such as `{"name": "Blue Spice", "food": "Thai"}` into source texts in the form of a tenant's data.

A form is written as an example with two fields: `key : value | key : value`. It is detected from sources and applied to
records. Knows no tenant and no file.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from components.errors import DataError

DEFAULT_FORM = "key : value | key : value"
"""The form of the E2E importer and of the built-in tenants."""

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
    """Return the known form of at least 90 % of the sources; None if there is none.

    A source with a single field has no separator and matches no form.
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
    """Return a record as a source; runs of white space become one space, and a list gives one field per value.

    Raises:
        DataError: the record is empty, or `form` is not a form.
    """
    lead, within, between = _split_form(form)
    fields = [
        f"{_to_one_line(key)}{within}{_to_one_line(value)}"
        for key, values in record.items()
        for value in ([values] if isinstance(values, RecordValue) else values)
    ]
    if not fields:
        raise DataError("a record with at least one field", "an empty record", "pass keys and values")
    return lead + between.join(fields)


def split_fields(source: str, form: str) -> list[tuple[str, str]]:
    """Return the keys and values of a source in this form; parts that are no field are left out.

    Raises:
        DataError: `form` is not a form.
    """
    lead, within, between = _split_form(form)
    parts = [part.partition(within) for part in source.removeprefix(lead).split(between)]
    return [(key.strip(), value.strip()) for key, found, value in parts if found]


def _split_form(form: str) -> tuple[str, str, str]:
    match = _FORM_PATTERN.fullmatch(form)
    if match is None:
        fix = "write `key` and `value` twice, with the tenant's separators"
        raise DataError(f"a form such as {DEFAULT_FORM!r}", repr(form), fix)
    return match["lead"], match["within"], match["between"]


def _to_one_line(value: RecordValue) -> str:
    return " ".join(str(value).split())
