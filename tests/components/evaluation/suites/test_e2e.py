"""Published scores of the E2E baseline (TGen, Dušek et al. 2020) on the challenge's test set, and the E2E suite."""

import zipfile

import pytest

from components.evaluation.suites import e2e, java
from components.stages.commands.score import score_predictions

TGEN = {"bleu": "65.93", "meteor": "0.4483", "rougeL": "0.6850", "cider": "2.2338"}


@pytest.fixture
def tgen(published):
    return published / "e2e-tgen-outputs" / "tgen.tsv", published / "e2e-dataset.zip"


@pytest.mark.slow
def test_every_metric_of_the_baseline(tgen):
    """BLEU and NIST alone where there is no Java."""
    outputs, release = tgen
    expected, options = TGEN, {"require_all": True}
    if java.find_problem() is not None:
        expected, options = {"bleu": TGEN["bleu"]}, {"metrics": ["bleu", "nist"]}
    result = score_predictions("e2e", outputs, [release], **options)
    scores = {one.metric: one for one in result.scores}
    values = {name: f"{one.value:.{2 if name == 'bleu' else 4}f}" for name, one in scores.items()}
    assert values.items() >= {**expected, "nist": "8.6094"}.items()
    assert scores["bleu"].n == 630
    assert "Perl" in scores["nist"].variant
    assert result.left_out == ()


def test_the_order_of_outputs_and_the_format_of_references_do_not_change_the_score(tgen, tmp_path):
    outputs, release = tgen
    lines = outputs.read_text(encoding="utf-8").splitlines()
    reordered = tmp_path / "reordered.tsv"
    reordered.write_text("\n".join([lines[0], *reversed(lines[1:])]), encoding="utf-8")
    table = tmp_path / "refs.csv"
    table.write_bytes(zipfile.ZipFile(release).read("e2e-dataset/testset_w_refs.csv"))
    (bleu,) = score_predictions("e2e", reordered, [table], metrics=["bleu"]).scores
    assert f"{bleu.value:.2f}" == TGEN["bleu"]


def test_cells_are_read_as_the_official_script_reads_them():
    assert e2e.repair_cell("Ł20 or Â£20 in the CafÃ© or cafã©") == "£20 or £20 in the Café or café"
    assert e2e.repair_cell("£20 in the café") == "£20 in the café"
    assert e2e.repair_cell(" 'The Mill is a pub.\" ") == "The Mill is a pub."
