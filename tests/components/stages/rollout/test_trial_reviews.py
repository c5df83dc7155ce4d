"""A cycle judges the trials that have grown, those that grew most first, until its time is over."""

import pytest

from components.config.rollout import RolloutConfig
from components.rollout.store.database import open_database_url
from components.rollout.store.findings_cache import read_findings
from components.rollout.store.observations import write_counts
from components.rollout.store.removal import remove_rows
from components.rollout.store.tenant_state import write_states
from components.rollout.types import Observation, RolloutState, ShareChange
from components.stages.rollout.trial_reviews import judge_trials, review_trials

CONFIG = RolloutConfig(policy="canary")
START_S = 60_000
FIRST = START_S // 60


@pytest.fixture
def database(tmp_path):
    opened = open_database_url(f"sqlite:///{tmp_path}/x.db")
    yield opened
    opened.close()


def make_trial(tenant):
    changes = (ShareChange(START_S, 0.1),)
    return RolloutState(tenant=tenant, champion="1", challenger="2", mode="canary", started_s=START_S, changes=changes)


def add_observations(database, tenant, minute, requests, errors=0):
    write_counts(
        database,
        [
            Observation(
                tenant=tenant,
                version=version,
                arm=arm,
                minute=FIRST + minute,
                section=section,
                requests=requests,
                errors=errors if arm == "challenger" else 0,
            )
            for version, arm in (("1", "champion"), ("2", "challenger"))
            for section in (0, START_S)
        ],
    )


def write_trials(database, trials):
    with database.transaction("states") as connection:
        write_states(connection, [one for one, _ in trials])


def list_seen(reviews):
    """Tenant -> answers at the last judgement; None: never judged."""
    return {one.state.tenant: one.last_findings and one.last_findings.seen for one in reviews}


def test_only_trials_that_have_grown_are_judged_again(database):
    trials = [(make_trial(tenant), CONFIG) for tenant in ("birch", "alder")]
    write_trials(database, trials)
    for tenant in ("alder", "birch"):
        add_observations(database, tenant, 2, 200)
    assert list_seen(review_trials(database, trials, FIRST + 3)) == {"alder": 400, "birch": 400}
    add_observations(database, "alder", 3, 1, errors=1)  # 0.5 %
    add_observations(database, "birch", 3, 20, errors=20)
    reviews = review_trials(database, trials, FIRST + 4)
    assert list_seen(reviews) == {"alder": 400, "birch": 440}
    assert [case.totals.seen for case in reviews] == [402, 440]
    assert [case.findings[0].challenger_bad for case in reviews] == [0, 20]
    (whole,) = judge_trials(database, reviews[:1], FIRST + 4)
    assert (whole.growth, list_seen(review_trials(database, trials, FIRST + 4))["alder"]) == (0.0, 402)
    stricter = [(one, CONFIG.model_copy(update={"false_alarm": 0.001})) for one, _ in trials]
    assert review_trials(database, stricter, FIRST + 4)[0].findings[0].needed == 10 * reviews[0].findings[0].needed


def test_trials_that_a_cycle_has_no_time_for_come_first_in_the_next(database):
    trials = [(make_trial(f"tenant-{number:02}"), CONFIG) for number in range(50)]
    write_trials(database, trials)
    for number, (one, _) in enumerate(trials):
        add_observations(database, one.tenant, 2, 100 + number)
    times = iter([0.0, 1.0, 11.0])
    seen = list_seen(review_trials(database, trials, FIRST + 3, lambda: next(times)))
    assert [seen[one.tenant] is not None for one, _ in trials] == [True] * 20 + [False] * 30
    add_observations(database, "tenant-00", 3, 500)
    later = review_trials(database, trials, FIRST + 4, lambda: 0.0)
    assert all(case.growth == 0 for case in later)


def test_findings_of_a_tenant_that_was_forgotten_meanwhile_are_not_saved(database):
    trials = [(make_trial(tenant), CONFIG) for tenant in ("alder", "birch")]
    write_trials(database, trials)
    for one, _ in trials:
        add_observations(database, one.tenant, 2, 200)
    reviews = review_trials(database, trials, FIRST + 3)
    remove_rows(database, "alder")
    assert len(judge_trials(database, reviews, FIRST + 3)) == 2
    assert list(read_findings(database)) == ["birch"]
