"""Which prediction answers which references: by input where both files name inputs, by place otherwise.

What does not pair up is refused with both counts and the first line that has no partner.
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
    """A prediction, its references and its slice for each example, in the references' order; `aligned_by` says how."""

    predictions: Sequence[str]
    references: Sequence[Sequence[str]]
    slices: Sequence[str | None] | None
    aligned_by: str


def align_outputs(predictions: SystemOutputs, references: References) -> AlignedOutputs:
    """Pair predictions with references.

    Where inputs are named they need not stand in the same order, and one may stand several times if its outputs are the
    same. E2E's `name[value], ...` and our `name : value | ...` name the same input.

    Raises:
        DataError: a prediction has no references, or references have no prediction.

    """
    if predictions.inputs is not None and references.inputs is not None:
        asked = [normalize_input(text) for text in predictions.inputs]
        known = [normalize_input(text) for text in references.inputs]
        texts = predictions.texts if asked == known else _align_by_input(predictions, references, asked, known)
        return AlignedOutputs(texts, references.texts, references.slices, "input")
    return AlignedOutputs(_align_by_line(predictions, references), references.texts, references.slices, "line")


def normalize_input(text: str) -> str:
    """An input in the form that compares: one space between words, E2E's attributes as `name : value | ...`."""
    attributes = _ATTRIBUTE_PATTERN.findall(text)
    if attributes and not _ATTRIBUTE_PATTERN.sub("", text).strip():
        text = " | ".join(f"{name} : {value}" for name, value in attributes)
    return " ".join(text.split())


def _align_by_input(
    predictions: SystemOutputs, references: References, asked: Sequence[str], known: Sequence[str]
) -> Sequence[str]:
    places = {key: number for number, key in enumerate(known)}
    if len(places) != len(known):
        wanted = f"predictions in the order of {references.path}, where inputs stand more than once"
        raise DataError(wanted, f"another order in {predictions.path}", "sort them alike")
    counts = f"{len(set(asked))} inputs of predictions, {len(known)} of references"
    answers: dict[str, int] = {}
    for number, key in enumerate(asked):
        if key not in places:
            got = f"{counts}; {_describe_line(predictions, number)} has an input without references: {_shorten(key)}"
            raise DataError(f"inputs of {references.path} alone", got, "score against the test set it was made for")
        first = answers.setdefault(key, number)
        if predictions.texts[first] != predictions.texts[number]:
            got = f"two, in lines {predictions.lines[first]} and {predictions.lines[number]} of {predictions.path}"
            raise DataError("one output for an input", got, "keep one of them")
    if (lacking := next((number for number, key in enumerate(known) if key not in answers), None)) is not None:
        place = f"{references.path}, line {references.lines[lacking]}"
        got = f"{counts}; none for the input of {place}: {_shorten(known[lacking])}"
        raise DataError("a prediction for every input", got, "add the missing outputs")
    return [predictions.texts[answers[key]] for key in known]


def _align_by_line(predictions: SystemOutputs, references: References) -> Sequence[str]:
    given, wanted = len(predictions.texts), len(references.texts)
    texts = predictions.texts
    if predictions.is_plain_lines and given > wanted and not any(texts[wanted:]):
        return texts[:wanted]
    if given == wanted:
        return texts
    if given == references.row_count:
        fix = f"name the inputs in a column of both, or keep one for each of the {wanted} inputs"
    else:
        fix = "give one prediction for each example, in the same order"
    if given > wanted:
        broken = f"{_describe_line(predictions, wanted)} has no references: {_shorten(texts[wanted])}"
    else:
        place = f"{references.path}, line {references.lines[given]}"
        broken = f"none for example {given + 1}, {place}: {_shorten(references.texts[given][0])}"
    got = f"{given} predictions, {wanted} sets of references; {broken}"
    raise DataError("as many predictions as sets of references", got, fix)


def _describe_line(predictions: SystemOutputs, number: int) -> str:
    return f"{predictions.path}, line {predictions.lines[number]},"


def _shorten(text: str) -> str:
    return repr(text if len(text) <= _MAX_SHOWN_CHARS else f"{text[: _MAX_SHOWN_CHARS - 3]}...")
