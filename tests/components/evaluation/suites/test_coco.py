import numpy as np
import pytest

from components.errors import WorkspaceError
from components.evaluation.suites import coco, java, meteor, score_suite

pytest.importorskip("pycocoevalcap", reason="the extra `metrics` is not installed")

TEXTS = ["The cat sat on the mat.", "A dog ran over the hill", "Birds sing in the old trees", ""]
REFERENCES = [
    ["The cat sat on a mat.", "A cat was sitting there"],
    ["A dog ran over the hill."],
    ["The birds are singing"],
    ["Nothing at all", "x"],
]


def test_rouge_is_the_f_of_beta_1_2():
    # The longest common subsequence of `a b c` and `a c` has 2 words: precision 2/3, recall 1.
    wanted = (1 + 1.2**2) * (2 / 3) / (1 + 1.2**2 * 2 / 3)
    assert coco._score_rouge(["a b c"], [["a c"]], [[0]]) == [pytest.approx(wanted)]


def test_cider_of_the_references_themselves_is_ten():
    texts = ["a b c d", "e f g h", "i j k l"]
    assert coco._score_cider(texts, [[text] for text in texts]) == pytest.approx(10)
    assert coco._score_cider(["a"], [[""]]) == 0.0


@pytest.mark.usefixtures("with_java")
def test_tokens_are_lower_cased_and_without_punctuation_a_line_for_each_text():
    # Brackets stay: the official list of punctuation has them in capitals, which the tokenizer has lower-cased.
    texts = ["It's £20 (or so), isn't it?", "", "two\nlines\u2028three \x85 four\r", 'Café – "quoted"', "."]
    assert coco.tokenize_ptb(texts) == [
        "it 's # 20 -lrb- or so -rrb- is n't it",
        "",
        "two lines three four",
        "café quoted",
        "",
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("with_java")
def test_a_slice_scores_as_if_it_were_alone():
    slices = ["a", "b", "a", None]
    found = {(one.metric, one.slice): one for one in score_suite("e2e", TEXTS, REFERENCES, slices)}
    assert [one for metric, one in found if metric == "meteor"] == ["a", "b", "all"]
    alone = score_suite("e2e", TEXTS[::2][:2], [REFERENCES[0], REFERENCES[2]])
    for one in alone:
        assert found[one.metric, "a"].value == pytest.approx(one.value), one.metric
        assert found[one.metric, "a"].n == 2


@pytest.mark.slow
@pytest.mark.usefixtures("with_java")
def test_meteor_is_best_for_the_reference_itself_and_nothing_for_strangers():
    texts = ["the cat sat", "xyz", "", "the | cat ||| sat"]
    own, strange, empty, barred = meteor.compute_scores(texts, [["the cat sat"]] * 4, [[0], [1], [2], [3]])
    assert own == pytest.approx(1)
    assert strange == empty == 0
    assert 0 < barred < 1


def test_without_java_they_are_refused_by_name(monkeypatch):
    monkeypatch.setattr(java, "_is_java_available", lambda: False)
    with pytest.raises(WorkspaceError, match="java -version") as told:
        coco.tokenize_ptb(["a"])
    assert "install" in told.value.fix


def test_a_java_that_fails_is_told(monkeypatch, tmp_path):
    fake = tmp_path / "java"
    fake.write_text("#!/bin/sh\ncase \"$*\" in -version) exit 0;; esac\necho 'no memory' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(WorkspaceError, match="no memory"):
        coco.tokenize_ptb(["a"])
    with pytest.raises(WorkspaceError, match=r"it ended; no memory"):
        meteor.compute_scores(["a"], [["a"]], [[0]])


def test_a_package_without_its_programs_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(java, "_find_package", lambda: tmp_path)
    why, fix = java.find_problem()
    assert "stanford-corenlp" in why
    assert "again" in fix
    monkeypatch.setattr(java, "_find_package", lambda: None)
    assert java.find_problem() == (java.NO_PACKAGE, java.INSTALL_PACKAGE)
    assert "metrics" in java.INSTALL_PACKAGE
    with pytest.raises(WorkspaceError):
        java.find_jar(java.METEOR_JAR)


def test_rouge_of_slices_is_a_mean():
    each = coco._score_rouge(["a b", "c"], [["a"], ["c"]], [[0], [1], [0, 1]])
    assert each[2] == pytest.approx(np.mean(each[:2]))
