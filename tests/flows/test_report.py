"""The markdown page of a retraining."""

from components.evaluation.report import Score
from components.stages.outcome import TenantOutcome
from components.stages.reports.results_table import TenantResult
from flows.report import describe_table, make_page


def test_a_page_has_the_plan_and_no_list_of_failures_without_failures():
    page = make_page("1 of 1 tenants to train: alder", [], {}, [])
    assert page.startswith("# Retraining\n\nPlan: 1 of 1 tenants to train: alder\n")
    assert "Failed" not in page
    assert "Rejected" not in page
    assert "Cause" not in page


def test_a_page_names_the_causes_of_its_run():
    page = make_page("nothing", [], {}, [], causes=["birch: new data arrived", "cedar: new data arrived"])
    assert "\n\nCause: birch: new data arrived; cedar: new data arrived\n\n" in page


def test_a_page_lists_each_failure_and_each_rejection_with_its_reason():
    failures = [TenantOutcome("birch", "train", "failed", "no data"), TenantOutcome("cedar", "gate", "failed", "none")]
    page = make_page("nothing", failures, {"elder": "BLEU 3 is below its floor of 40."}, [])
    failed = "## Failed\n\n- **birch** failed to train: no data\n- **cedar** failed to gate: none\n"
    assert page.endswith(f"{failed}\n## Rejected by the gate\n\n- **elder**: BLEU 3 is below its floor of 40.\n")


def test_a_page_lists_the_tenants_whose_splits_overlap():
    score = Score(metric="bleu", value=1.0, low=1.0, high=1.0, n=5)
    row = TenantResult("t", "prefix", score, score, score, score, 1, 0.1, 1, "accepted", "1", "champion", "8.0% leak")
    page = make_page("nothing", [], {}, [row])
    assert page.endswith("\n## Overlaps between splits\n\n- **t**: 8.0% leak\n")


def test_reasons_are_beside_the_table_and_not_in_its_cells():
    text = describe_table("1 to train", [], {"elder": "BLEU 3 is below its floor of 40."}, [])
    assert text.startswith("1 to train\n")
    assert text.endswith("## Rejected by the gate\n\n- **elder**: BLEU 3 is below its floor of 40.\n")
