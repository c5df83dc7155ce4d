"""Pair predictions with references: by input if both files name inputs, otherwise by line.

If they do not pair up, the error names both counts and the first line without a counterpart.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from components.errors import DataError
from components.evaluation.suites.references import References
from components.evaluation.suites.system_outputs import SystemOutputs

_ATTRIBUTE_PATTERN = re.compile(r"\s*([^\[\],]+?)\s*\[([^\[\]]*)\]\s*(?:,|$)")
_MAX_SHOWN_CHARS = 60


@dataclass(frozen=True, slots=True)
class AlignedOutputs:
    """A prediction, references and a slice for each example, in the references' order.

    `aligned_by` is "input" or "line"; `slices` is None if the references name none.
    """

    predictions: Sequence[str]
    references: Sequence[Sequence[str]]
    slices: Sequence[str | None] | None
    aligned_by: str


def align_outputs(predictions: SystemOutputs, references: References) -> AlignedOutputs:
    """Pair predictions with references.

    With named inputs the order may differ, and an input may occur several times if its outputs are the same. E2E's
    `name[value], ...` and PrefixFleet's `name : value | ...` are the same input.

    Raises:
        DataError: a prediction has no references, or references have no prediction.

    """
    if predictions.inputs is not None and references.inputs is not None:
        predicted = [normalize_input(text) for text in predictions.inputs]
        known = [normalize_input(text) for text in references.inputs]
        texts = predictions.texts if predicted == known else _align_by_input(predictions, references, predicted, known)
        return AlignedOutputs(texts, references.texts, references.slices, "input")
    return AlignedOutputs(_align_by_line(predictions, references), references.texts, references.slices, "line")


def normalize_input(text: str) -> str:
    """Return an input in the form to compare: single spaces, and E2E's attributes as `name : value | ...`."""
    attributes = _ATTRIBUTE_PATTERN.findall(text)
    if attributes and not _ATTRIBUTE_PATTERN.sub("", text).strip():
        text = " | ".join(f"{name} : {value}" for name, value in attributes)
    return " ".join(text.split())


def _align_by_input(
    predictions: SystemOutputs, references: References, predicted: Sequence[str], known: Sequence[str]
) -> Sequence[str]:
    known_inputs = set(known)
    if len(known_inputs) != len(known):
        wanted = f"predictions in the order of {references.path}, which has the same input in several lines"
        raise DataError(wanted, f"another order in {predictions.path}", "sort both files alike")
    counts = f"{len(set(predicted))} inputs of predictions, {len(known)} of references"
    answers: dict[str, int] = {}
    for number, key in enumerate(predicted):
        if key not in known_inputs:
            got = f"{counts}; {_describe_line(predictions, number)} has an input without references: {_shorten(key)}"
            raise DataError(f"inputs that {references.path} contains", got, "name the references of these predictions")
        first = answers.setdefault(key, number)
        if predictions.texts[first] != predictions.texts[number]:
            got = f"two, in lines {predictions.lines[first]} and {predictions.lines[number]} of {predictions.path}"
            raise DataError("one output for each input", got, "keep one of them")
    if (lacking := next((number for number, key in enumerate(known) if key not in answers), None)) is not None:
        position = f"{references.path}, line {references.lines[lacking]}"
        got = f"{counts}; none for the input of {position}: {_shorten(known[lacking])}"
        raise DataError("a prediction for every input", got, "add the missing outputs")
    return [predictions.texts[answers[key]] for key in known]


def _align_by_line(predictions: SystemOutputs, references: References) -> Sequence[str]:
    count, expected = len(predictions.texts), len(references.texts)
    texts = predictions.texts
    if predictions.is_plain_lines and count > expected and not any(texts[expected:]):
        return texts[:expected]
    if count == expected:
        return texts
    if count == references.row_count:
        fix = f"add a column of inputs to both files, or keep one prediction for each of the {expected} inputs"
    else:
        fix = "give one prediction for each example, in the same order"
    if count > expected:
        unpaired = f"{_describe_line(predictions, expected)} has no references: {_shorten(texts[expected])}"
    else:
        position = f"{references.path}, line {references.lines[count]}"
        unpaired = f"none for example {count + 1}, {position}: {_shorten(references.texts[count][0])}"
    got = f"{count} predictions, {expected} sets of references; {unpaired}"
    raise DataError("as many predictions as sets of references", got, fix)


def _describe_line(predictions: SystemOutputs, number: int) -> str:
    return f"{predictions.path}, line {predictions.lines[number]},"


def _shorten(text: str) -> str:
    return repr(text if len(text) <= _MAX_SHOWN_CHARS else f"{text[: _MAX_SHOWN_CHARS - 3]}...")
