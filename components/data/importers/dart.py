"""DART v1.1.1: JSON files of triple sets and their annotations.

A triple becomes `subject : relation : object` with the relation in lower case; triples are joined by ` | `. Training
has one example per annotation; validation and test have one per triple set, with all of its annotations.
"""

from components.data.importers.sources import find_split, read_files, read_json, to_one_line
from components.data.schema import Example
from components.errors import DataError


def import_dart(path: str) -> dict[str, list[Example]]:
    """Read DART's `dart-v1.1.1-full-{train,dev,test}.json`.

    Raises:
        DataError: there are no such files, JSON is broken, or an entry does not have the release's format.

    """
    splits: dict[str, list[Example]] = {}
    for name, content in read_files(path, ".json").items():
        if not (split := find_split(name.rsplit("/", 1)[-1])):
            continue
        entries = read_json(name, content)
        if not isinstance(entries, list):
            raise DataError(
                "a list of DART entries", f"a {type(entries).__name__} in {name}", "download the file again"
            )
        examples = splits.setdefault(split, [])
        for number, entry in enumerate(entries, start=1):
            example = _to_example(entry, f"{name}, entry {number}")
            single = [Example(example.source, (reference,)) for reference in example.references]
            examples.extend(single if split == "train" else [example])
    return splits


def _to_example(entry: object, where: str) -> Example:
    match entry:
        case {"tripleset": list(triples), "annotations": list(annotations)}:
            texts = [
                text for note in annotations if isinstance(note, dict) and isinstance(text := note.get("text"), str)
            ]
            if len(texts) == len(annotations):
                source = " | ".join(_linearize_triple(triple, where) for triple in triples)
                return Example(source, tuple(text for text in map(to_one_line, texts) if text))
    raise DataError("an entry with `tripleset` and `annotations`", f"none in {where}", "download the file again")


def _linearize_triple(triple: object, where: str) -> str:
    match triple:
        case [str(subject), str(relation), str(value)]:
            return f"{to_one_line(subject)} : {to_one_line(relation).lower()} : {to_one_line(value)}"
    raise DataError("a triple of three strings", f"{str(triple)[:80]} in {where}", "download the file again")
