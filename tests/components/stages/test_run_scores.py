"""The scores of a run: those of the new prefix, and of the champion or the base alone."""

from types import SimpleNamespace

from scored_reports import scored

from components.evaluation.report import write_report
from components.stages.run_scores import RunScores, read_run_scores
from components.stages.stamps import write_json

REFERENCES = ["a red cup on the table", "two blue boats at sea"]


def test_scores_before_are_the_champions_or_else_those_of_the_base_alone(tmp_path):
    workspace = SimpleNamespace(get_output_folder=lambda stage, tenant: tmp_path / stage / tenant)
    folder = tmp_path / "evaluate" / "acme"
    assert read_run_scores(workspace, "acme") == RunScores()
    write_report(folder / "report.json", scored(REFERENCES, REFERENCES).report)
    write_report(folder / "base" / "report.json", scored(["a", "b"], REFERENCES).report)
    found = read_run_scores(workspace, "acme")
    assert (found.bleu_before, round(found.bleu_after), round(found.rouge_after)) == (0.0, 100, 100)
    assert found.compared_with == "base"
    write_report(folder / "champion" / "report.json", scored([REFERENCES[0], "b"], REFERENCES).report)
    write_json(folder / "champion" / "version.json", {"version": "3"})
    found = read_run_scores(workspace, "acme")
    assert (found.compared_with, round(found.rouge_before)) == ("3", 50)
    (folder / "champion" / "report.json").write_text("{")
    assert read_run_scores(workspace, "acme").bleu_before is None
