"""Scores that others published: the E2E baseline's (TGen, Dušek et al. 2020) on the challenge's test set."""

import pytest

from components.stages.commands.score import score_predictions

TGEN = {"bleu": "65.93", "meteor": "0.4483", "rougeL": "0.6850", "cider": "2.2338"}


@pytest.fixture
def tgen(published):
    return published / "e2e-tgen-outputs" / "tgen.tsv", published / "e2e-dataset.zip"


def test_bleu_and_nist_of_the_e2e_baseline(tgen):
    outputs, release = tgen
    bleu, nist = score_predictions("e2e", outputs, [release], metrics=["bleu", "nist"]).scores
    assert (f"{bleu.value:.2f}", bleu.n) == (TGEN["bleu"], 630)
    assert nist.value == pytest.approx(8.6094, abs=2e-4)
    assert "Perl" in nist.variant


@pytest.mark.slow
@pytest.mark.usefixtures("with_java")
def test_every_metric_of_the_e2e_baseline(tgen):
    outputs, release = tgen
    found = score_predictions("e2e", outputs, [release], require_all=True)
    assert {
        one.metric: f"{one.value:.{2 if one.metric == 'bleu' else 4}f}" for one in found.compute_scores
    }.items() >= TGEN.items()
    assert found.left_out == ()


def test_the_order_of_the_outputs_and_the_form_of_the_references_change_nothing(tgen, tmp_path):
    import zipfile

    outputs, release = tgen
    lines = outputs.read_text(encoding="utf-8").splitlines()
    mixed = tmp_path / "mixed.tsv"
    mixed.write_text("\n".join([lines[0], *reversed(lines[1:])]), encoding="utf-8")
    table = tmp_path / "refs.csv"
    table.write_bytes(zipfile.ZipFile(release).read("e2e-dataset/testset_w_refs.csv"))
    one, other = (
        score_predictions("e2e", outputs, [release], metrics=["bleu"]),
        score_predictions("e2e", mixed, [table], metrics=["bleu"]),
    )
    assert one.scores == other.scores
