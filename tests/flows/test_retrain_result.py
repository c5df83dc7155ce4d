"""The sentence of a retraining's result, and what it says about each stage."""

from types import SimpleNamespace

from components.registry.registry import CHALLENGER, CHAMPION
from components.stages.outcome import TenantOutcome
from components.stages.reports.results_table import MOST_SHOWN
from flows.retrain_result import RetrainResult


def test_the_sentence_of_a_run_counts_stages_and_names_failures():
    outcomes = [
        TenantOutcome("alder", "train", "done"),
        TenantOutcome("birch", "train", "skipped"),
        TenantOutcome("cedar", "train", "failed", "a loss that is not finite"),
    ]
    result = RetrainResult("a" * 32, "1 of 3", outcomes, promoted={"alder": "2"})
    assert result.sentence == "1 trained, 1 promoted, cedar failed in train of 3 tenants"
    assert (result.list_done("train"), result.list_passed("train")) == (["alder"], ["alder", "birch"])
    assert result.failures == outcomes[2:]


def test_tenants_whose_new_version_is_on_trial_are_counted():
    rows = [
        SimpleNamespace(tenant=tenant, alias=alias) for tenant, alias in (("alder", CHALLENGER), ("birch", CHAMPION))
    ]
    outcomes = [TenantOutcome(tenant, "train", "done") for tenant in ("alder", "birch")]
    result = RetrainResult("a" * 32, "2 of 2", outcomes, promoted={"birch": "2"}, rows=rows)
    assert result.sentence == "2 trained, 1 promoted, 1 on trial of 2 tenants"


def test_of_a_large_fleet_the_tenants_that_the_run_worked_on_are_shown():
    names = [f"tenant-{number}" for number in range(MOST_SHOWN + 1)]
    outcomes = [TenantOutcome(tenant, "evaluate", "skipped") for tenant in names]
    outcomes += [TenantOutcome(names[3], "train", "done"), TenantOutcome(names[5], "gate", "failed", "no data")]
    result = RetrainResult("a" * 32, "2 of 201", outcomes)
    assert result.choose_shown(names) == [names[3], names[5]]
    assert result.choose_shown(names[1:]) == names[1:]
