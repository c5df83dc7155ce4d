"""The command `score`: its table and JSON file, metrics that are left out, and its errors."""

import json

import pytest
from typer.testing import CliRunner

from cli.main import app
from components.evaluation.suites import find_suite, java

TEXTS = ["the cat sat on the mat", "a dog ran over the hill", "birds sing in the trees"]
REFERENCES = ["the cat sat on a mat", "a dog ran over that hill", "some birds sing there"]


@pytest.fixture
def score(tmp_path):
    def call(suite, predictions, references, *options):
        for name, content in (("out.txt", predictions), ("refs.txt", references)):
            data = content if isinstance(content, bytes) else "".join(f"{line}\n" for line in content).encode()
            (tmp_path / name).write_bytes(data)
        files = ["--predictions", str(tmp_path / "out.txt"), "--references", str(tmp_path / "refs.txt")]
        return CliRunner().invoke(app, ["-C", str(tmp_path), "score", "--suite", suite, *files, *options])

    return call


@pytest.fixture
def no_java(monkeypatch):
    monkeypatch.setattr(java, "_is_java_available", lambda: False)


@pytest.mark.usefixtures("no_java")
@pytest.mark.parametrize("suite", ["e2e", "webnlg", "dart", "summarisation"])
def test_the_json_file_and_the_table_have_the_same_scores(score, tmp_path, suite):
    result = score(suite, TEXTS, REFERENCES, "--json", str(tmp_path / "scores.json"))
    assert result.exit_code == 0, result.output
    written = json.loads((tmp_path / "scores.json").read_text())
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in result.stdout.splitlines() if "│" in line]
    definition = find_suite(suite)
    assert [row[1:] for row in cells] == [
        [one["slice"], definition.format_value(one["metric"], one["value"]), str(one["n"]), one["variant"]]
        for one in written["scores"]
    ]
    assert written["n"] == 3
    assert "3 outputs paired by line" in result.stdout
    assert not (tmp_path / "var").exists()


@pytest.mark.usefixtures("no_java")
def test_a_metric_that_is_left_out_is_named_with_the_reason(score):
    result = score("e2e", TEXTS, REFERENCES)
    assert result.exit_code == 0
    assert "left out: METEOR, ROUGE-L, CIDEr: no " in result.stderr
    assert "METEOR" not in result.stdout
    strict = score("e2e", TEXTS, REFERENCES, "--require-all")
    assert strict.exit_code == 2
    assert "every metric of e2e" in strict.stderr
    named = score("e2e", TEXTS, REFERENCES, "--metric", "meteor")
    assert named.exit_code == 2
    assert score("e2e", TEXTS, REFERENCES, "--metric", "bleu", "--require-all").exit_code == 0


def test_empty_predictions_are_scored_and_counted(score):
    result = score("summarisation", [TEXTS[0], "", ""], REFERENCES)
    assert result.exit_code == 0
    assert "2 empty predictions" in result.stderr


def test_predictions_in_a_file_with_their_references(tmp_path):
    path = tmp_path / "predictions.jsonl"
    line = {"source": "x", "references": ["a b c"], "slice": "seen", "prediction": "a b c"}
    path.write_text(json.dumps(line) + "\n")
    result = CliRunner().invoke(app, ["score", "--suite", "summarisation", "--predictions", str(path)])
    assert result.exit_code == 0, result.output
    assert result.stdout.count("100.00") == 6
    assert "seen" in result.stdout


@pytest.mark.parametrize(
    ("suite", "predictions", "references", "options", "words"),
    [
        ("e2ee", TEXTS, REFERENCES, (), "did you mean 'e2e'?"),
        ("dart", TEXTS[:2], REFERENCES, (), "2 predictions, 3 sets of references; none for example 3"),
        ("dart", TEXTS, REFERENCES[:1], (), "has no references: 'a dog ran over the hill'"),
        ("dart", b"caf\xe9\n", REFERENCES, (), "line 1: not UTF-8"),
        ("dart", b"", REFERENCES, (), "at least one prediction"),
        ("dart", TEXTS, b"", (), "at least one example with references"),
        ("dart", TEXTS, REFERENCES, ("--column", "answer"), "a column 'answer'"),
        ("dart", ["mr,output", "x,y"], REFERENCES, (), "1 predictions, 3 sets of references"),
        ("dart", ["mr,output", "x,y"], ["mr,ref", "z,y"], (), "input without references"),
        ("dart", TEXTS, REFERENCES, ("--metric", "rouge"), "'rouge'"),
        ("dart", TEXTS, REFERENCES, ("--json", "/dev/null/x.json"), "to write /dev/null/x.json"),
        ("webnlg", TEXTS, REFERENCES, ("--references", "none.txt"), "nothing at none.txt"),
        ("webnlg", TEXTS, REFERENCES, ("--references", "/"), "/"),
    ],
)
def test_bad_input_exits_2_with_three_beats(score, suite, predictions, references, options, words):
    fast = () if suite == "e2ee" or "--metric" in options else ("--metric", "ter")
    result = score(suite, predictions, references, *options, *fast)
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert all(beat in result.stderr for beat in ("wanted:", "got:", "fix:"))
    assert "Traceback" not in result.output
