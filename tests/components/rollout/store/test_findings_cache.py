"""Findings are kept by tenant from one cycle to the next, and their trial has a key."""

from dataclasses import replace

from components.config.rollout import RolloutConfig
from components.rollout.store.findings_cache import TrialFindings, make_trial_key, read_findings, save_findings
from components.rollout.store.tenant_state import write_states
from components.rollout.types import Finding, RolloutState, ShareChange

CONFIG = RolloutConfig(policy="canary")
STATE = RolloutState(tenant="acme", champion="1", challenger="2", mode="canary", changes=(ShareChange(60, 0.1),))
FINDING = Finding("errors", "unclear", 2000, 20, 500, 7, 1.5, 1.25, 3.5, 600.0)


def test_findings_are_replaced_and_only_of_tenants_with_a_state(database):
    with database.transaction("a state") as connection:
        write_states(connection, [STATE])
    save_findings(database, [])
    save_findings(database, [TrialFindings("acme", "t", 9, []), TrialFindings("birch", "t", 9, [])])
    assert read_findings(database) == {"acme": TrialFindings("acme", "t", 9, [])}
    latest = TrialFindings("acme", make_trial_key(STATE, CONFIG), 2527, [FINDING])
    save_findings(database, [latest])
    assert read_findings(database) == {"acme": latest}


def test_findings_of_many_trials_are_saved_at_once(narrow_database):
    tenants = [f"t{number}" for number in range(12_000)]
    with narrow_database.transaction("the states") as connection:
        write_states(connection, [replace(STATE, tenant=tenant) for tenant in tenants])
    save_findings(narrow_database, [TrialFindings(tenant, "t", 9, []) for tenant in [*tenants, "unknown"]])
    assert read_findings(narrow_database).keys() == set(tenants)


def test_another_trial_and_another_configuration_have_another_key():
    key = make_trial_key(STATE, CONFIG)
    same = replace(STATE, step=1, share=0.5, changes=(*STATE.changes, ShareChange(600, 0.5)), paused_s=9.0)
    assert make_trial_key(same, CONFIG) == key
    others = [
        replace(STATE, challenger="3"),
        replace(STATE, champion="2"),
        replace(STATE, changes=(ShareChange(61, 0.1),)),
    ]
    keys = {make_trial_key(other, CONFIG) for other in others} | {
        make_trial_key(STATE, CONFIG.model_copy(update={"false_alarm": 0.001}))
    }
    assert len(keys | {key}) == 5
