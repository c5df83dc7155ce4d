from collections import Counter
from pathlib import Path

import pytest

from components.config import DataConfig
from components.data.importers import import_dataset
from components.data.schema import Example
from components.errors import DataError


def xml(category: str, triples: list[str], *texts: tuple[str, str]) -> str:
    inner = "".join(f"<mtriple>{triple}</mtriple>" for triple in triples)
    lexes = "".join(f'<lex comment="{comment}" lid="Id1">{text}</lex>' for comment, text in texts)
    original = "<originaltripleset><otriple>x | y | z</otriple></originaltripleset>"
    entry = f"{original}<modifiedtripleset>{inner}</modifiedtripleset>{lexes}"
    return f'<benchmark><entries><entry category="{category}" eid="Id1">{entry}</entry></entries></benchmark>'


AIRPORT = ["Aarhus_Airport | cityServed | Aarhus", 'Aarhus | name | "Aarhus, &lt;DK&gt;"']
FILES = {
    "webnlg/train/2triples/Airport.xml": xml(
        "Airport", AIRPORT, ("good", "One."), ("toFix", "Two."), ("good", "Three.")
    ),
    "webnlg/dev/1triples/Airport.xml": xml("Airport", AIRPORT[:1], ("good", "One."), ("toFix", "Two.")),
    "webnlg/test/testdata_with_lex.xml": xml("Airport", AIRPORT[:1], ("good", "One.")),
    "webnlg/test/testdata_unseen_with_lex.xml": xml("Artist", AIRPORT[:1], ("good", "One.")),
    "webnlg/test/testdata_no_lex.xml": xml("Artist", AIRPORT[:1]),
}


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def test_training_keeps_good_texts_and_evaluation_keeps_all(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    splits = import_dataset("webnlg", str(tmp_path), DataConfig())
    source = " | Aarhus Airport : cityServed : Aarhus | Aarhus : name : Aarhus, <DK>"
    assert splits["train"] == [Example(source, ("One.",)), Example(source, ("Three.",))]
    assert splits["validation"] == [Example(" | Aarhus Airport : cityServed : Aarhus", ("One.", "Two."))]
    assert splits["test"] == [Example(" | Aarhus Airport : cityServed : Aarhus", ("One.",), "seen")]


def test_names_can_be_kept_as_in_dbpedia(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    splits = import_dataset("webnlg", str(tmp_path), DataConfig(), names="verbatim")
    assert splits["train"][0].source == ' | Aarhus_Airport : cityServed : Aarhus | Aarhus : name : "Aarhus, <DK>"'
    with pytest.raises(DataError, match="names=upper"):
        import_dataset("webnlg", str(tmp_path), DataConfig(), names="upper")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<benchmark>", "no element found"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><benchmark/>', "without a document type"),
        (xml("Airport", ["a | b"], ("good", "One.")), "'a | b'"),
    ],
)
def test_broken_xml_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    write(tmp_path, {"train/x.xml": text})
    with pytest.raises(DataError) as raised:
        import_dataset("webnlg", str(tmp_path), DataConfig())
    assert reason in str(raised.value)


def test_the_published_release_is_read_completely(real_data: Path) -> None:
    splits = import_dataset("webnlg", str(real_data / "webnlg-2017.tar.xz"), DataConfig())
    counts = {split: (len(rows), sum(len(row.references) for row in rows)) for split, rows in splits.items()}
    assert counts == {"train": (18025, 18025), "validation": (872, 2268), "test": (1862, 4928)}
    assert Counter(row.slice for row in splits["test"]) == {"seen": 971, "unseen": 891}
    assert splits["test"][0].source == " | Abilene Regional Airport : cityServed : Abilene, Texas"
