"""Totals and evidence of many trials, read at once."""

from components.rollout.store.observations import write_counts
from components.rollout.store.trial_totals import TrialTotals, read_evidence, read_totals
from components.rollout.types import Observation, RolloutState, ShareChange, StepAnswers

START_S = 60_000
FIRST = START_S // 60
SECTION = START_S + 5


def make_cell(tenant, version, minute, section=0, **counts):
    arm = "challenger" if version == "2" else "champion"
    return Observation(tenant=tenant, version=version, arm=arm, minute=FIRST + minute, section=section, **counts)


def make_trial(tenant, champion="1", step_minute=0):
    began = {"started_s": float(START_S), "step_started_s": float(START_S + 60 * step_minute)}
    changes = (ShareChange(START_S, 0.1),)
    return RolloutState(tenant=tenant, champion=champion, challenger="2", mode="canary", changes=changes, **began)


def test_totals_and_evidence_of_many_trials(database):
    write_counts(
        database,
        [
            make_cell("acme", "1", -1, requests=50),  # before the trial
            make_cell("acme", "1", 0, requests=40, errors=4),
            make_cell("acme", "2", 0, requests=4, agreed=2),
            make_cell("acme", "1", 5, requests=10, errors=1, liked=1, disliked=1),
            make_cell("acme", "2", 5, requests=6, errors=3, agreed=1),
            make_cell("acme", "2", 9, requests=9),  # this minute is not over
            make_cell("acme", "3", 5, requests=9),  # another version
            make_cell("acme", "2", 3, SECTION, requests=2, latencies={4: 1, 11: 1}),
            make_cell("acme", "1", 3, SECTION, requests=7, latencies={4: 7}),
            make_cell("acme", "1", 2, SECTION, requests=1),
            make_cell("acme", "1", 3, START_S - 300, requests=70),  # evidence of an earlier trial
            make_cell("birch", "2", 3, SECTION, requests=5),
            make_cell("cedar", "2", 3, SECTION, requests=5),
        ],
    )
    trials = [make_trial("acme", step_minute=4), make_trial("birch", champion=""), make_trial("dale")]
    assert read_totals(database, trials, FIRST + 9) == {
        "acme": TrialTotals(StepAnswers(6, 3, 10, 1), shadowed=10, agreed=3, seen=62),
        "birch": TrialTotals(StepAnswers(0), 0, 0, 0),
        "dale": TrialTotals(StepAnswers(0), 0, 0, 0),
    }
    assert read_evidence(database, trials, FIRST + 9) == {
        "acme": [
            make_cell("acme", "1", 2, SECTION, requests=1),
            make_cell("acme", "2", 3, SECTION, requests=2, latencies={4: 1, 11: 1}),
            make_cell("acme", "1", 3, SECTION, requests=7, latencies={4: 7}),
        ],
        "birch": [make_cell("birch", "2", 3, SECTION, requests=5)],
        "dale": [],
    }
    assert read_totals(database, [], FIRST + 9) == read_evidence(database, [], FIRST + 9) == {}


def test_evidence_and_totals_of_more_trials_than_a_statement_may_have_parameters(narrow_database):
    tenants = [f"t{number}" for number in range(3_000)]
    write_counts(narrow_database, [make_cell(tenant, "2", 3, SECTION, requests=5) for tenant in tenants])
    trials = [make_trial(tenant) for tenant in tenants]
    evidence = read_evidence(narrow_database, trials, FIRST + 9)
    assert evidence == {tenant: [make_cell(tenant, "2", 3, SECTION, requests=5)] for tenant in tenants}
    assert read_totals(narrow_database, trials, FIRST + 9).keys() == set(tenants)
