"""Importers of published data sets: each reads a path and returns split -> examples.

Does not know drops or dataset versions.
"""

import inspect
from collections.abc import Callable

from components.config import DataConfig
from components.data.importers.dart import import_dart
from components.data.importers.dialogsum import import_dialogsum
from components.data.importers.e2e import import_e2e
from components.data.importers.hub import import_hub, import_parquet, import_xsum
from components.data.importers.tables import (
    import_csv,
    import_jsonl,
    import_openai,
    import_sharegpt,
    import_tsv,
)
from components.data.importers.webnlg import import_webnlg
from components.data.schema import Example, find_problem
from components.errors import DataError

Importer = Callable[..., dict[str, list[Example]]]
"""Takes a path (or an id on the hub) and string options by keyword."""

IMPORTERS: dict[str, Importer] = {
    "csv": import_csv,
    "tsv": import_tsv,
    "jsonl": import_jsonl,
    "parquet": import_parquet,
    "openai": import_openai,
    "sharegpt": import_sharegpt,
    "hub": import_hub,
    "dart": import_dart,
    "dialogsum": import_dialogsum,
    "e2e": import_e2e,
    "webnlg": import_webnlg,
    "xsum": import_xsum,
}


def import_dataset(kind: str, path: str, limits: DataConfig, **options: str) -> dict[str, list[Example]]:
    """Return split -> examples of a data set of a known kind, for the splits that its files have.

    Examples outside `limits` are returned too, since the check of the drop quarantines them; but if there are so many
    that the drop would be refused, an error is raised here.

    Raises:
        DataError: the kind or an option is unknown, no split was found, a file does not have the kind's format, or too
            many examples are outside the limits.

    """
    if kind not in IMPORTERS:
        raise DataError(f"a format out of {', '.join(IMPORTERS)}", repr(kind), "name one of these")
    known = list(inspect.signature(IMPORTERS[kind]).parameters)[1:]
    if unknown := sorted(set(options) - set(known)):
        wanted = f"an option of {kind} ({', '.join(known) or 'it has none'})"
        raise DataError(wanted, f"the option {unknown[0]!r}", "remove it, or correct its name")
    splits = {split: examples for split, examples in IMPORTERS[kind](path, **options).items() if examples}
    if not splits:
        fix = "correct the path, or download or export the data set again"
        raise DataError(f"files of {kind}", f"none with examples in {path}", fix)
    problems = [
        f"{split}, example {number}: {problem}"
        for split, examples in splits.items()
        for number, example in enumerate(examples, start=1)
        if (problem := find_problem(example, limits))
    ]
    total = sum(map(len, splits.values()))
    if len(problems) > limits.max_rejects * total:
        wanted = f"at most {limits.max_rejects:.0%} of the examples outside the limits of params.yaml"
        got = f"{len(problems):,} of {total:,}; the first is {problems[0]}"
        raise DataError(wanted, got, "raise the limits in params.yaml, or correct the data")
    return splits
