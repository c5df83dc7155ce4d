"""Importers of published data sets: each reads a path and gives examples by split. Knows no drop and no version."""

import inspect
from collections.abc import Callable

from components.config import DataConfig
from components.data.importers.dart import import_dart
from components.data.importers.dialogsum import import_dialogsum
from components.data.importers.e2e import import_e2e
from components.data.importers.hub import import_hub, import_xsum
from components.data.importers.webnlg import import_webnlg
from components.data.schema import Example, find_problem
from components.errors import DataError

Importer = Callable[..., dict[str, list[Example]]]
"""Takes a path (or hub id) and options as keyword texts."""

IMPORTERS: dict[str, Importer] = {
    "dart": import_dart,
    "dialogsum": import_dialogsum,
    "e2e": import_e2e,
    "hub": import_hub,
    "webnlg": import_webnlg,
    "xsum": import_xsum,
}


def import_dataset(kind: str, path: str, limits: DataConfig, **options: str) -> dict[str, list[Example]]:
    """Read a data set of a known kind; the splits that it has, in the order of their files.

    Examples outside `limits` are given as they are, for the drop's check to quarantine, unless they are so many that
    it would refuse the drop.

    Raises:
        DataError: an unknown kind or option, no split found, a file that is not as its kind's, or too many examples
            outside the limits.

    """
    if kind not in IMPORTERS:
        raise DataError(f"one of {', '.join(IMPORTERS)}", repr(kind), "choose one of them")
    known = list(inspect.signature(IMPORTERS[kind]).parameters)[1:]
    if unknown := sorted(set(options) - set(known)):
        wanted = f"an option of {kind}: {', '.join(known) or 'it has none'}"
        raise DataError(wanted, repr(unknown[0]), "leave it out")
    splits = {split: examples for split, examples in IMPORTERS[kind](path, **options).items() if examples}
    if not splits:
        raise DataError(
            f"files of {kind}", f"none with examples at {path}", "see the data set's own page for its files"
        )
    problems = [
        f"{split}, example {number}: {problem}"
        for split, examples in splits.items()
        for number, example in enumerate(examples, start=1)
        if (problem := find_problem(example, limits))
    ]
    if len(problems) > limits.max_rejects * sum(map(len, splits.values())):
        wanted = f"at most {limits.max_rejects:.0%} of the examples outside the limits of params.yaml"
        raise DataError(wanted, f"{len(problems)}, the first {problems[0]}", "raise the limits, or mend the data")
    return splits
