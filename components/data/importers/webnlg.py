"""The WebNLG 2017 challenge: XML files of RDF triples and their lexicalisations (tar archive or folder).

A triple becomes ` | subject : property : object`. Training has one example per lexicalisation marked `good`; validation
and test have one per entry, with all of its lexicalisations. The test split has two slices: `seen` for categories that
occur in training, and `unseen` for the others.
"""

from collections.abc import Iterator
from xml.etree import ElementTree

from components.data.importers.sources import decode_utf8, find_split, read_files, to_one_line
from components.data.schema import Example
from components.errors import DataError

_WHOLE_TEST_FILE = "testdata_with_lex.xml"


def import_webnlg(path: str, *, names: str = "words") -> dict[str, list[Example]]:
    """Read WebNLG's train, dev and test folders.

    With `names="words"` a name is written as in its references (`Aarhus Airport`); with `names="verbatim"` as in
    DBpedia, with underscores and quotes (`Aarhus_Airport`), as in the inputs of the Prefix-Tuning authors.

    Raises:
        DataError: there are no such files, XML is broken, or an entry does not have the challenge's format.

    """
    if names not in ("words", "verbatim"):
        raise DataError("names=words or names=verbatim", f"names={names}", "set one of the two")
    files: dict[str, dict[str, bytes]] = {}
    for name, content in read_files(path, ".xml").items():
        if split := find_split(name):
            files.setdefault(split, {})[name] = content
    # The test folder has its entries three times: all, only the unseen ones, and without texts.
    whole = {name: content for name, content in files.get("test", {}).items() if name.endswith(_WHOLE_TEST_FILE)}
    entries = {split: list(_parse_entries(whole if split == "test" and whole else files[split])) for split in files}
    categories = {entry.get("category") for entry in entries.get("train", [])}
    splits = {}
    for split, split_entries in entries.items():
        splits[split] = [
            example
            for entry in split_entries
            for example in _make_examples(entry, split, categories, verbatim=names == "verbatim")
        ]
    return splits


def _parse_entries(files: dict[str, bytes]) -> Iterator[ElementTree.Element]:
    for name, content in files.items():
        text = decode_utf8(name, content)
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise DataError("XML without a document type", f"a document type in {name}", "download the original file")
        try:
            yield from ElementTree.fromstring(content).iter("entry")  # noqa: S314 - no document type, so no entities
        except (ElementTree.ParseError, ValueError, LookupError) as problem:
            raise DataError("valid XML of WebNLG", f"{name}: {problem}", "download the file again") from None


def _make_examples(
    entry: ElementTree.Element, split: str, categories: set[str | None], *, verbatim: bool
) -> Iterator[Example]:
    triples = [triple.text or "" for triple in entry.iterfind("modifiedtripleset/mtriple")]
    source = "".join(_linearize_triple(triple, verbatim=verbatim) for triple in triples)
    texts = [(lex.get("comment"), to_one_line(lex.text or "")) for lex in entry.iterfind("lex")]
    if split == "train":
        yield from (Example(source, (text,)) for comment, text in texts if comment == "good" and text)
    elif references := tuple(text for _, text in texts if text):
        part = None
        if split == "test" and categories:
            part = "seen" if entry.get("category") in categories else "unseen"
        yield Example(source, references, part)


def _linearize_triple(triple: str, *, verbatim: bool) -> str:
    parts = triple.split(" | ")
    if len(parts) != 3:
        raise DataError("a triple `subject | property | object`", repr(triple[:80]), "correct this entry")
    subject, relation, value = (
        to_one_line(part if verbatim else part.replace("_", " ").replace('"', "")) for part in parts
    )
    return f" | {subject} : {relation} : {value}"
