"""Published scores of the E2E baseline (TGen, Dušek et al. 2020) on the challenge's test set, and the E2E suite."""

import zipfile

import pytest

from components.evaluation.suites import e2e
from components.stages.commands.score import score_predictions

TGEN = {"bleu": "65.93", "meteor": "0.4483", "rougeL": "0.6850", "cider": "2.2338"}


@pytest.fixture
def tgen(published):
    return published / "e2e-tgen-outputs" / "tgen.tsv", published / "e2e-dataset.zip"


def test_bleu_and_nist_of_the_baseline(tgen):
    outputs, release = tgen
    bleu, nist = score_predictions("e2e", outputs, [release], metrics=["bleu", "nist"]).scores
    assert (f"{bleu.value:.2f}", bleu.n) == (TGEN["bleu"], 630)
    assert f"{nist.value:.4f}" == "8.6094"
    assert "Perl" in nist.variant


@pytest.mark.slow
@pytest.mark.usefixtures("with_java")
def test_every_metric_of_the_baseline(tgen):
    outputs, release = tgen
    result = score_predictions("e2e", outputs, [release], require_all=True)
    values = {one.metric: f"{one.value:.{2 if one.metric == 'bleu' else 4}f}" for one in result.scores}
    assert values.items() >= TGEN.items()
    assert result.left_out == ()


def test_the_order_of_outputs_and_the_format_of_references_do_not_change_the_score(tgen, tmp_path):
    outputs, release = tgen
    lines = outputs.read_text(encoding="utf-8").splitlines()
    reordered = tmp_path / "reordered.tsv"
    reordered.write_text("\n".join([lines[0], *reversed(lines[1:])]), encoding="utf-8")
    table = tmp_path / "refs.csv"
    table.write_bytes(zipfile.ZipFile(release).read("e2e-dataset/testset_w_refs.csv"))
    original = score_predictions("e2e", outputs, [release], metrics=["bleu"])
    assert score_predictions("e2e", reordered, [table], metrics=["bleu"]).scores == original.scores


def test_cells_are_read_as_the_official_script_reads_them():
    assert e2e.repair_cell("Ł20 or Â£20 in the CafÃ© or cafã©") == "£20 or £20 in the Café or café"
    assert e2e.repair_cell("£20 in the café") == "£20 in the café"
    assert e2e.repair_cell(" 'The Mill is a pub.\" ") == "The Mill is a pub."
