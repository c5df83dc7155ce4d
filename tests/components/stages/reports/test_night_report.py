"""The report of a night: what needs a person first, grouped; trials, moves, causes, workers and cost of one run."""

from contextlib import closing
from dataclasses import replace

import pytest

from components.config import BaseConfig, Params, PricesConfig
from components.rollout.store.causes import Cause, close_causes, open_causes
from components.rollout.store.database import open_database_url
from components.rollout.store.ledger import append_entries
from components.rollout.store.runs import RunTenant, begin_run_entry, end_run_entry
from components.rollout.store.tenant_state import write_states
from components.rollout.types import LedgerEntry, RolloutState
from components.stages.reports.night_report import read_night

PARAMS = Params(
    base=BaseConfig(path="base"),
    prices=PricesConfig(currency="EUR", training_device_hour=3),
    tenants={"cedar": {"prices": {"training_device_hour": 6}}},
)
TRAINED = {"worker": "gpu-1:7", "device": "H200", "device_seconds": 600.0}
TENANTS = [
    RunTenant(tenant="alder", result="promoted", bleu_before=40.0, bleu_after=45.0, compared_with="1", **TRAINED),
    RunTenant(tenant="birch", result="rejected", detail="BLEU fell", bleu_before=50.0, bleu_after=20.0, **TRAINED),
    RunTenant(tenant="cedar", result="accepted", bleu_before=50.0, bleu_after=51.0, **TRAINED),
    RunTenant(tenant="dale", result="failed", detail="train: no file data/dale/train.jsonl"),
    RunTenant(tenant="elm", result="failed", detail="train: no file data/elm/train.jsonl"),
    RunTenant(tenant="fern", result="failed", detail="train: loss is nan"),
    RunTenant(tenant="gorse", result="skipped", detail="its budget is spent"),
]


def at(day, hour):
    return f"2026-11-{day}T{hour:02}:00:00+00:00"


@pytest.fixture
def database(tmp_path):
    with closing(open_database_url(f"sqlite:///{tmp_path}/fleet.db")) as opened:
        yield opened


@pytest.fixture
def night(database):
    first = begin_run_entry(database, "schedule", "prefect@a", at(28, 2))
    end_run_entry(database, first, at(28, 3), "abc.dir", 7, [])
    run = begin_run_entry(database, "arrival", "prefect@a", at(29, 2), "a1b2c3")
    entry = LedgerEntry(tenant="alder", by="rollout", action="rollback", from_version="3", to_version="2", at=at(28, 2))
    append_entries(
        database,
        entry,
        replace(entry, tenant="hazel", at=at(28, 9)),
        replace(entry, tenant="acorn", at=at(28, 9)),
        replace(entry, tenant="acorn", at=at(28, 10), action="forget"),
        replace(entry, tenant="", at=at(28, 10), action="create-key"),
        replace(entry, tenant="ivy", at=at(28, 11), action="pin", by="ada"),
        replace(entry, tenant="alder", at=at(29, 2), action="promote", by="retrain", to_version="2"),
        replace(
            entry,
            tenant="cedar",
            at=at(29, 2),
            action="challenge",
            by="retrain",
            to_version="4",
            figures={"mode": "canary", "share": 0.05},
        ),
        replace(entry, tenant="later", at=at(29, 9)),
    )
    causes = [Cause(tenant=one, id=f"arrival-{one}", kind="arrival", why="new data") for one in ("cedar", "alder")]
    with database.transaction("causes and states") as connection:
        open_causes(connection, causes)
        write_states(connection, [RolloutState(tenant="cedar", challenger="4", mode="canary", share=0.25)])
    close_causes(database, causes, ["done"] * 2)
    with database.transaction("the time of the run") as connection:
        connection.exec_driver_sql(f"UPDATE prefixfleet_causes SET closed_at = '{at(29, 2)}'")
    end_run_entry(database, run, at(29, 3), "0f3c9a.dir", 90, TENANTS, "sha256:77aa")
    return run


def test_what_needs_a_person_is_grouped_by_reason_and_comes_first(database, night):
    report = read_night(database, night, PARAMS.for_tenant, "Acme", {})
    assert [(one.result, one.why, [tenant.tenant for tenant in one.tenants]) for one in report.waiting] == [
        ("failed", "train: no file data/TENANT/train.jsonl", ["dale", "elm"]),
        ("failed", "train: loss is nan", ["fern"]),
        ("rejected", "BLEU fell", ["birch"]),
        ("skipped", "its budget is spent", ["gorse"]),
    ]
    assert report.counts == {"failed": 3, "rejected": 1, "skipped": 1, "promoted": 1, "accepted": 1, "unchanged": 90}
    assert [one.tenant for one in report.retrained] == ["birch", "cedar", "alder"]


def test_moves_are_those_since_the_run_before_without_keys_and_forgotten_tenants(database, night):
    report = read_night(database, night, PARAMS.for_tenant, "Acme", {})
    assert [one.tenant for one in report.rolled_back] == ["hazel"]
    assert [(one.tenant, one.action) for one in report.other_moves] == [("ivy", "pin")]
    (trial,) = report.trials
    assert (trial.tenant, trial.version, trial.mode, trial.share, trial.now) == (
        *("cedar", "4", "canary", 0.05),
        "answers 25%",
    )
    assert [(one.why, one.tenants) for one in report.causes] == [("new data", ["alder", "cedar"])]


def test_the_cost_counts_each_tenants_prices_and_is_missing_without_prices(database, night):
    report = read_night(database, night, PARAMS.for_tenant, "Acme", {})
    assert (str(report.cost), report.currency) == ("2.0000", "EUR")
    assert [(one.worker, one.tenants, one.device_seconds) for one in report.workers] == [("gpu-1:7", 3, 1800.0)]
    assert (report.seconds, report.run.code_version, report.run.base_digest) == (3600.0, "a1b2c3", "sha256:77aa")
    assert read_night(database, night, None, "Acme", {}).cost is None
    assert read_night(database, 99, None, "Acme", {}) is None
    running = begin_run_entry(database, "hand", "ada", at(30, 2))
    report = read_night(database, running, None, "Acme", {})
    assert (report.seconds, report.tenants, report.run.ended_at) == (None, [], "")
    assert [one.tenant for one in report.rolled_back] == ["later"]
