"""Tables, predictions and references in every form that real files have."""

import json
import tarfile
import zipfile

import pytest

from components.errors import DataError
from components.evaluation.suites.references import read_references
from components.evaluation.suites.system_outputs import read_system_outputs

MR = '"name[Blue Spice], eatType[pub]"'


@pytest.fixture
def write(tmp_path):
    def make(name, content):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return make


@pytest.mark.parametrize(
    ("name", "content", "texts", "inputs"),
    [
        ("a.txt", "one, two\nthree\n", ["one, two", "three"], None),
        ("a.txt", "one\r\n\r\nthree", ["one", "", "three"], None),
        ("a.txt", "\ufeffone\n\n", ["one", ""], None),
        ("a", "{not json\n{nor this}\n", ["{not json", "{nor this}"], None),
        ("a.tsv", f"MR\toutput\n{MR}\tA pub.\n", ["A pub."], ["name[Blue Spice], eatType[pub]"]),
        ("a.csv", f'mr,output\n{MR},"A ""pub"", here."\n', ['A "pub", here.'], ["name[Blue Spice], eatType[pub]"]),
        ("a.txt", f"MR\toutput\n{MR}\tA pub.\n", ["A pub."], ["name[Blue Spice], eatType[pub]"]),
        ("a.csv", 'ref\n"one, two"\nthree\n', ["one, two", "three"], None),
        ("a.tsv", "in\tout one\nin\tout two\n", ["out one", "out two"], ["in", "in"]),
        ("a.tsv", 'mr\toutput\nx\t"Spice" is a pub\ny\tan "inn\n', ["Spice is a pub", 'an "inn'], ["x", "y"]),
        (
            "a.tsv",
            'mr\toutput\nx\t"The" pub\ny\t"The inn\nz\tA bar\n',
            ['"The" pub', '"The inn', "A bar"],
            ["x", "y", "z"],
        ),
        ("a.tsv", 'MR\tSystem Output\nx\t"two\nlines"\ny\tone\n', ["two\nlines", "one"], ["x", "y"]),
        ("a.jsonl", '{"source": "s", "prediction": "p", "output": "o"}\n\n', ["p"], ["s"]),
        ("a.jsonl", '{"output": "o"}\n{"output": ""}\n', ["o", ""], None),
        ("a.json", '["one", "two"]', ["one", "two"], None),
        ("a.json", '[\n {"text": "one"}]', ["one"], None),
        ("a.out", '{"text": "one"}', ["one"], None),
    ],
)
def test_predictions(write, name, content, texts, inputs):
    found = read_system_outputs(write(name, content))
    assert list(found.texts) == texts
    assert (found.inputs and list(found.inputs)) == inputs


def test_a_column_can_be_named(write):
    path = write("a.csv", "mr,Beam,output\nx,b,o\n")
    assert read_system_outputs(path, "beam").texts == ["b"]
    assert read_system_outputs(path).texts == ["o"]
    assert read_references([path], "dart", "BEAM").texts == [["b"]]


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
def test_references(write, name, content, suite, texts, inputs):
    found = read_references([write(name, content)], suite)
    assert [list(own) for own in found.texts] == texts
    assert (found.inputs and list(found.inputs)) == inputs


def test_slices_come_from_our_own_lines(write):
    lines = [{"source": "x", "references": ["a"], "slice": "seen"}, {"source": "y", "references": ["b"], "slice": None}]
    path = write("a.jsonl", "".join(json.dumps({**line, "prediction": "p"}) + "\n" for line in lines))
    assert read_references([path], "webnlg").slices == ["seen", None]
    assert read_system_outputs(path).texts == ["p", "p"]


def test_files_side_by_side(write):
    paths = [write("reference0", "one\ntwo\n"), write("reference1", "more\n\n")]
    assert read_references(paths, "webnlg").texts == [["one", "more"], ["two"]]
    with pytest.raises(DataError, match=r"2 in .*, 1 in "):
        read_references([paths[0], write("short", "x\n")], "webnlg")
    with pytest.raises(DataError, match="files of lines"):
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
        found = read_references([path], "webnlg")
        assert [list(own) for own in found.texts] == [["City text."], ["Artist text."]]
        assert found.slices == ["seen", "unseen"]
    with pytest.raises(DataError, match="train part"):
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
    ("name", "content", "told"),
    [
        ("a.txt", b"fine\nca\xe9\n", "line 2: not UTF-8: byte 0xe9"),
        ("a.txt", "one".encode("utf-16"), "UTF-16"),
        ("a.txt", "", "empty"),
        ("a.csv", "", "empty"),
        ("a.jsonl", "", "empty"),
        ("a.csv", "mr,output\nx,y\nx,y,z\n", "3 in .*line 3"),
        ("a.csv", "mr,answer\nx,y\n", "the columns mr, answer"),
        ("a.tsv", "a\tb\tc\n", "no named column"),
        ("a.jsonl", '{"output": 3}', "int in .*line 1"),
        ("a.jsonl", '{"output": "a"}\n{"other": "b"}', "NoneType in .*line 2"),
        ("a.jsonl", '{"output": "a"}\n{"output', "line 2"),
        ("a.jsonl", "3\n", "JSON of type int"),
        ("a.jsonl", '{"answer": "a"}', "the columns answer"),
    ],
)
def test_bad_predictions_are_told_with_their_line(write, name, content, told):
    with pytest.raises(DataError, match=told):
        read_system_outputs(write(name, content))


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.csv", "mr,ref\nx,one\ny,\n", "none in .*line 3"),
        ("a.jsonl", '{"references": []}', "none in .*line 1"),
        ("a.jsonl", '{"references": [3]}', "int in .*line 1"),
        ("a.jsonl", '{"source": 3, "references": ["a"]}', "int in .*line 1"),
        ("a.csv", "mr,answer\nx,y\n", "the columns mr, answer"),
        ("a.txt", "\n\n", "at least one example"),
        ("a.zip", b"PK no", "broken|not a zip|without one|File is not"),
        ("a.tar.xz", b"no", "a.tar.xz"),
    ],
)
def test_bad_references_are_told_with_their_line(write, name, content, told):
    with pytest.raises(DataError, match=told):
        read_references([write(name, content)], "e2e")


@pytest.mark.parametrize("read", [read_system_outputs, lambda path: read_references([path], "dart", "x")])
def test_unreadable_files(tmp_path, read):
    with pytest.raises(DataError, match="nothing at"):
        read(tmp_path / "none.txt")


def test_a_folder_is_no_file_of_predictions(tmp_path):
    with pytest.raises(DataError, match="Is a directory"):
        read_system_outputs(tmp_path)


def test_an_unknown_column_is_told_with_the_nearest(write):
    path = write("a.csv", "mr,output\nx,y\n")
    with pytest.raises(DataError, match="did you mean 'output'"):
        read_system_outputs(path, "outputt")
    with pytest.raises(DataError, match="name one of its columns"):
        read_references([path], "dart", "zzzzz")
    with pytest.raises(DataError, match="no named column"):
        read_system_outputs(write("b.txt", "x\n"), "output")
    with pytest.raises(DataError, match="no named column"):
        read_references([write("b.tsv", "x\ty\n")], "e2e", "ref")
