import json
import tarfile
import zipfile

import pytest

from components.errors import DataError
from components.evaluation.suites.references import read_references


@pytest.mark.parametrize(
    ("name", "content", "suite", "texts", "inputs"),
    [
        ("a.txt", "one\ntwo\n", "dart", [["one"], ["two"]], None),
        ("a.txt", "one\ntwo\n\n\nthree\n\n", "e2e", [["one", "two"], ["three"]], None),
        ("a.csv", "mr,ref\nx,one\ny,two\nx,three\n", "e2e", [["one", "three"], ["two"]], ["x", "y"]),
        ("a.tsv", "x\tone\nx\ttwo\n", "e2e", [["one", "two"]], ["x"]),
        ("a.tsv", "one\ttwo\nthree\t\n", "dart", [["one", "two"], ["three"]], None),
        ("a.tsv", "source\tref1\tref2\nx\tone\ttwo\ny\tthree\t\n", "dart", [["one", "two"], ["three"]], ["x", "y"]),
        ("a.jsonl", '{"source": "x", "references": ["one", "two"]}', "e2e", [["one", "two"]], ["x"]),
        (
            "a.jsonl",
            '{"dialogue": "x", "summary1": "one", "summary2": "two"}',
            "summarisation",
            [["one", "two"]],
            ["x"],
        ),
        ("a.jsonl", '{"mr": "x", "ref": "one"}\n{"mr": "x", "ref": "two"}', "e2e", [["one", "two"]], ["x"]),
    ],
)
def test_references_in_every_format(write, name, content, suite, texts, inputs):
    references = read_references([write(name, content)], suite)
    assert [list(own) for own in references.texts] == texts
    assert (references.inputs and list(references.inputs)) == inputs


def test_a_column_can_be_named(write):
    assert read_references([write("a.csv", "mr,Beam,output\nx,b,o\n")], "dart", "BEAM").texts == [["b"]]
    with pytest.raises(DataError, match="no named column"):
        read_references([write("b.tsv", "x\ty\n")], "e2e", "ref")


def test_slices_are_read_from_prefixfleets_json_lines(write):
    lines = [{"source": "x", "references": ["a"], "slice": "seen"}, {"source": "y", "references": ["b"], "slice": None}]
    path = write("a.jsonl", "".join(json.dumps({**line, "prediction": "p"}) + "\n" for line in lines))
    assert read_references([path], "webnlg").slices == ["seen", None]


def test_parallel_files_of_lines(write):
    paths = [write("reference0", "one\ntwo\n"), write("reference1", "more\n\n")]
    assert read_references(paths, "webnlg").texts == [["one", "more"], ["two"]]
    with pytest.raises(DataError, match=r"2 in .*, 1 in "):
        read_references([paths[0], write("short", "x\n")], "webnlg")
    with pytest.raises(DataError, match="plain lines of text"):
        read_references([paths[0], write("b.csv", "ref\nx\ny\n")], "webnlg")


def test_the_release_of_e2e(tmp_path):
    with zipfile.ZipFile(tmp_path / "e2e.zip", "w") as archive:
        archive.writestr("e2e/devset.csv", "mr,ref\nx,dev\n")
        archive.writestr("e2e/testset.csv", "mr\nx\n")
        archive.writestr("e2e/testset_w_refs.csv", "mr,ref\nx,test\n")
    assert read_references([tmp_path / "e2e.zip"], "e2e").texts == [["test"]]
    assert read_references([tmp_path / "e2e.zip"], "e2e", split="validation").texts == [["dev"]]
    with pytest.raises(DataError, match="a train file with references"):
        read_references([tmp_path / "e2e.zip"], "e2e", split="train")


ENTRY = (
    '<entry category="{0}" eid="Id1" size="1"><modifiedtripleset><mtriple>a | b | c</mtriple></modifiedtripleset>'
    '<lex comment="good" lid="Id1">{0} text.</lex></entry>'
)


def entries(*categories):
    return f"<benchmark><entries>{''.join(map(ENTRY.format, categories))}</entries></benchmark>"


def test_the_release_of_webnlg_and_its_test_file(tmp_path):
    for part, name, content in (
        ("train", "a.xml", entries("City")),
        ("test", "testdata_with_lex.xml", entries("City", "Artist")),
        ("test", "testdata_unseen_with_lex.xml", entries("Artist")),
    ):
        (tmp_path / "release" / part).mkdir(parents=True, exist_ok=True)
        (tmp_path / "release" / part / name).write_text(content)
    with tarfile.open(tmp_path / "webnlg.tar.xz", "w:xz") as archive:
        archive.add(tmp_path / "release", "webnlg")
    test = tmp_path / "release" / "test" / "testdata_with_lex.xml"
    for path in (tmp_path / "webnlg.tar.xz", tmp_path / "release", test):
        references = read_references([path], "webnlg")
        assert [list(own) for own in references.texts] == [["City text."], ["Artist text."]]
        assert references.slices == ["seen", "unseen"]
    with pytest.raises(DataError, match="training part"):
        read_references([test.with_name("testdata_unseen_with_lex.xml")], "webnlg")
    with pytest.raises(DataError, match="the split 'validation'"):
        read_references([tmp_path / "release"], "webnlg", split="validation")


def test_the_release_of_dart(write):
    path = write(
        "dart-test.json",
        json.dumps([{"tripleset": [["a", "B", "c"]], "annotations": [{"text": "one"}, {"text": "two"}]}]),
    )
    assert read_references([path], "dart").texts == [("one", "two")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "mr,ref\nx,one\ny,\n", "none in .*line 3"),
        ("a.jsonl", '{"references": []}', "none in .*line 1"),
        ("a.jsonl", '{"references": [3]}', "int in .*line 1"),
        ("a.jsonl", '{"source": 3, "references": ["a"]}', "int in .*line 1"),
        ("a.csv", "mr,answer\nx,y\n", "the columns mr, answer"),
        ("a.txt", "\n\n", "at least one example"),
        ("a.zip", b"PK no", r"none in .*a\.zip"),
        ("a.tar.xz", b"no", "a.tar.xz"),
    ],
)
def test_an_invalid_file_is_refused_with_its_line(write, name, content, message):
    with pytest.raises(DataError, match=message):
        read_references([write(name, content)], "e2e")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="nothing at"):
        read_references([tmp_path / "none.txt"], "dart", "x")
