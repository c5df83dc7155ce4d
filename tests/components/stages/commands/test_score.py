"""Scoring a file of outputs: pairing, empty outputs, metrics that cannot be computed, and the JSON file."""

import json

import pytest

from components.errors import DataError, WorkspaceError
from components.evaluation.suites import java
from components.stages.commands.score import score_predictions, write_scores


@pytest.fixture
def write(tmp_path):
    def file(name, *lines):
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines))
        return tmp_path / name

    return file


def test_equal_texts_have_the_highest_score_and_empty_outputs_are_counted(write):
    references = write("refs.txt", "the cat sat on the mat", "a dog ran over the hill")
    equal = score_predictions("webnlg", references, [references], metrics=["bleu"])
    assert [round(score.value) for score in equal.scores if score.slice == "all"] == [100]
    assert (equal.n, equal.empty_predictions, equal.left_out) == (2, 0, ())
    outputs = write("out.txt", "the cat sat on the mat", "the dog walked down a hill")
    assert score_predictions("webnlg", outputs, [references], metrics=["bleu"]).scores[0].value < 90
    empty = write("empty.txt", "the cat sat on the mat", "")
    assert score_predictions("webnlg", empty, [references], metrics=["bleu"]).empty_predictions == 1


def test_without_references_they_are_read_from_the_outputs_json_lines(write):
    line = json.dumps({"prediction": "a b c d e", "references": ["a b c d e"]})
    result = score_predictions("summarisation", write("out.jsonl", line, line), metrics=["rouge1"])
    assert [(score.slice, round(score.value, 2)) for score in result.scores] == [("all", 100.0)]


def test_files_that_do_not_match_are_refused(write):
    with pytest.raises(DataError):
        score_predictions("webnlg", write("out.txt", "a"), [write("refs.txt", "a", "b")])


def test_a_metric_that_this_machine_cannot_compute_is_left_out_or_refused(write, monkeypatch):
    monkeypatch.setattr(java, "_is_java_available", lambda: False)
    file = write("refs.txt", "the cat sat on the mat")
    assert [one.metric for one in score_predictions("webnlg", file, [file]).left_out] == ["meteor"]
    with pytest.raises(WorkspaceError, match="every metric of webnlg"):
        score_predictions("webnlg", file, [file], require_all=True)


def test_the_json_file_has_every_score(write, tmp_path):
    file = write("refs.txt", "the cat sat on the mat")
    result = score_predictions("webnlg", file, [file], metrics=["bleu"])
    write_scores(tmp_path / "scores.json", result)
    written = json.loads((tmp_path / "scores.json").read_text())
    assert [score["value"] for score in written["scores"]] == [score.value for score in result.scores]
    assert written["predictions"] == str(file)
