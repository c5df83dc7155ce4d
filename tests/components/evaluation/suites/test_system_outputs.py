import pytest

from components.errors import DataError
from components.evaluation.suites.system_outputs import read_system_outputs

MR = '"name[Blue Spice], eatType[pub]"'


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
def test_outputs_in_every_format(write, name, content, texts, inputs):
    outputs = read_system_outputs(write(name, content))
    assert list(outputs.texts) == texts
    assert (outputs.inputs and list(outputs.inputs)) == inputs


def test_a_column_can_be_named(write):
    path = write("a.csv", "mr,Beam,output\nx,b,o\n")
    assert read_system_outputs(path, "beam").texts == ["b"]
    assert read_system_outputs(path).texts == ["o"]
    with pytest.raises(DataError, match="no named column"):
        read_system_outputs(write("b.txt", "x\n"), "output")


@pytest.mark.parametrize(
    ("name", "content", "message"),
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
def test_an_invalid_file_is_refused_with_its_line(write, name, content, message):
    with pytest.raises(DataError, match=message):
        read_system_outputs(write(name, content))


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="Is a directory"):
        read_system_outputs(tmp_path)
