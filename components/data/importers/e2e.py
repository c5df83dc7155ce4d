"""The E2E NLG data set: CSV files of meaning representations and their human references (zip or folder).

`name[Blue Spice], eatType[coffee shop]` becomes `name : Blue Spice | eatType : coffee shop`. Training has one example
per pair (42,061); validation and test have one per meaning representation, with all of its references (547 and 630).
"""

import re

from components.data.importers.sources import find_split, read_csv, read_files, to_one_line
from components.data.schema import Example
from components.errors import DataError

_ATTRIBUTE_PATTERN = re.compile(r"\s*([^\[\],]+?)\s*\[([^\[\]]*)\]\s*(?:,|$)")

_MAX_MEANING_CHARS = 5_000
"""The pattern takes quadratic time; the release's longest representation has 200 characters."""


def import_e2e(path: str) -> dict[str, list[Example]]:
    """Read E2E's CSV files; files without references (testset.csv) are ignored.

    Raises:
        DataError: there are no such files, or a row has no meaning representation.

    """
    splits: dict[str, list[Example]] = {}
    for name, content in read_files(path, ".csv").items():
        split = find_split(name.rsplit("/", 1)[-1])
        rows = read_csv(name, content)
        if split is None or not rows or "ref" not in rows[0] or "mr" not in rows[0]:
            continue
        pairs = [
            (_linearize_meaning(row["mr"], f"{name}, row {number}"), to_one_line(row["ref"]))
            for number, row in enumerate(rows, 1)
        ]
        splits.setdefault(split, []).extend(_make_examples(pairs, grouped=split != "train"))
    return splits


def _make_examples(pairs: list[tuple[str, str]], *, grouped: bool) -> list[Example]:
    if not grouped:
        return [Example(source, (reference,)) for source, reference in pairs]
    references: dict[str, list[str]] = {}
    for source, reference in pairs:
        references.setdefault(source, []).append(reference)
    return [Example(source, tuple(texts)) for source, texts in references.items()]


def _linearize_meaning(representation: str, where: str) -> str:
    if len(representation) > _MAX_MEANING_CHARS:
        got = f"{len(representation):,} characters in {where}"
        raise DataError(
            f"a meaning representation of at most {_MAX_MEANING_CHARS:,} characters", got, "correct this row"
        )
    attributes = _ATTRIBUTE_PATTERN.findall(representation)
    if not attributes or _ATTRIBUTE_PATTERN.sub("", representation).strip():
        got = f"{representation[:80]!r} in {where}"
        raise DataError("a meaning representation `name[value], ...`", got, "correct this row")
    return " | ".join(f"{name} : {to_one_line(value)}" for name, value in attributes)
