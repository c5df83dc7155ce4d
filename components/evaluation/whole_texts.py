"""Metrics of whole texts: whether a prediction equals a reference, and whether it is JSON. Knows no corpus.

A text is JSON if it is one JSON object or array and nothing else.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

_NO_JSON = object()


def compute_exact_matches(
    predictions: Sequence[str], references: Sequence[Sequence[str]]
) -> Iterable[tuple[float, float]]:
    """Yield (1 if the prediction equals one of its references, else 0; 1) for each prediction.

    Outer white space does not count, case does. Two JSON texts are equal if their values are: neither white space nor
    the order of keys counts.
    """
    for prediction, own in zip(predictions, references, strict=True):
        value = _parse(prediction)
        hit = any(
            prediction.strip() == text.strip() or (value is not _NO_JSON and _are_equal(value, _parse(text)))
            for text in own
        )
        yield float(hit), 1.0


def compute_json_validity(predictions: Sequence[str]) -> Iterable[tuple[float, float]]:
    """Yield (1 if the prediction is JSON, else 0; 1) for each prediction."""
    for prediction in predictions:
        yield float(is_json(prediction)), 1.0


def is_json(text: str) -> bool:
    """Return whether a text is one JSON object or array."""
    return _parse(text) is not _NO_JSON


def _parse(text: str) -> Any:
    if text.lstrip()[:1] not in ("{", "["):
        return _NO_JSON
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return _NO_JSON


def _are_equal(one: Any, other: Any) -> bool:
    """Compare values; unlike in Python, true is not 1."""
    if type(one) is not type(other) and not (_is_number(one) and _is_number(other)):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_are_equal(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_are_equal, one, other))
    return bool(one == other)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)
