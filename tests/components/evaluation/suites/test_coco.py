import numpy as np
import pytest

from components.errors import WorkspaceError
from components.evaluation.suites import coco

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
    expected = (1 + 1.2**2) * (2 / 3) / (1 + 1.2**2 * 2 / 3)
    assert coco._score_rouge(["a b c"], [["a c"]], [[0]]) == [pytest.approx(expected)]


def test_rouge_of_a_group_is_the_mean_of_its_examples():
    scores = coco._score_rouge(["a b", "c"], [["a"], ["c"]], [[0], [1], [0, 1]])
    assert scores[2] == pytest.approx(np.mean(scores[:2]))


def test_cider_of_the_references_themselves_is_ten():
    texts = ["a b c d", "e f g h", "i j k l"]
    assert coco._score_cider(texts, [[text] for text in texts]) == pytest.approx(10)
    assert coco._score_cider(["a"], [[""]]) == 0.0


@pytest.mark.usefixtures("with_java")
def test_tokens_are_lower_cased_and_without_punctuation_with_one_line_for_each_text():
    # Brackets stay: the official list of punctuation has them in capitals, which the tokenizer has lower-cased.
    texts = ["It's £20 (or so), isn't it?", "", "two\nlines\u2028three \x85 four\r", 'Café – "quoted"', "."]
    assert coco.tokenize_ptb(texts) == [
        "it 's # 20 -lrb- or so -rrb- is n't it",
        "",
        "two lines three four",
        "café quoted",
        "",
    ]


@pytest.mark.usefixtures("with_java")
def test_a_group_is_scored_as_a_corpus(monkeypatch):
    monkeypatch.setattr(coco.meteor, "compute_scores", lambda texts, targets, groups: [len(rows) for rows in groups])
    metrics, groups = coco.COCO_METRICS, [[0, 2], [1], [0, 1, 2, 3]]
    together = coco.compute_scores(metrics, TEXTS, REFERENCES, groups)
    alone = coco.compute_scores(metrics, TEXTS[:3:2], REFERENCES[:3:2], [[0, 1]])
    assert set(together) == set(alone) == set(metrics)
    for metric in metrics:
        assert together[metric][0] == pytest.approx(alone[metric][0]), metric
        assert len(together[metric]) == len(groups)
    assert together["cider"][0] != pytest.approx(together["cider"][2])


def test_a_failing_tokenizer_is_reported_with_its_last_message(failing_java):
    with pytest.raises(WorkspaceError, match="no memory"):
        coco.tokenize_ptb(["a"])
