"""Which trials a cycle judges anew: those that have grown, the most grown first, and no more than it has time for."""

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


def trial(tenant):
    changes = (ShareChange(START_S, 0.1),)
    return RolloutState(tenant=tenant, champion="1", challenger="2", mode="canary", started_s=START_S, changes=changes)


def serve(database, tenant, minute, requests, errors=0):
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


def stand(database, trials):
    with database.transaction("standings") as connection:
        write_states(connection, [one for one, _ in trials])


def seen(found):
    return {case.state.tenant: case.last_findings and case.last_findings.seen for case in found}


def test_only_what_has_grown_is_judged_anew(database):
    trials = [(trial(tenant), CONFIG) for tenant in ("birch", "alder")]
    stand(database, trials)
    for tenant in ("alder", "birch"):
        serve(database, tenant, 2, 200)
    assert seen(review_trials(database, trials, FIRST + 3)) == {"alder": 400, "birch": 400}
    serve(database, "alder", 3, 1, errors=1)  # half a hundredth
    serve(database, "birch", 3, 20, errors=20)
    found = review_trials(database, trials, FIRST + 4)
    assert seen(found) == {"alder": 400, "birch": 440}
    assert [case.totals.seen for case in found] == [402, 440]
    assert [case.findings[0].challenger_bad for case in found] == [0, 20]
    (whole,) = judge_trials(database, found[:1], FIRST + 4)
    assert (whole.growth, seen(review_trials(database, trials, FIRST + 4))["alder"]) == (0.0, 402)
    stricter = [(one, CONFIG.model_copy(update={"false_alarm": 0.001})) for one, _ in trials]
    assert review_trials(database, stricter, FIRST + 4)[0].findings[0].needed == 10 * found[0].findings[0].needed


def test_what_a_cycle_has_no_time_for_is_first_in_the_next(database):
    trials = [(trial(f"tenant-{number:02}"), CONFIG) for number in range(50)]
    stand(database, trials)
    for number, (one, _) in enumerate(trials):
        serve(database, one.tenant, 2, 100 + number)
    times = iter([0.0, 1.0, 11.0])
    found = seen(review_trials(database, trials, FIRST + 3, lambda: next(times)))
    assert [found[one.tenant] is not None for one, _ in trials] == [True] * 20 + [False] * 30
    serve(database, "tenant-00", 3, 500)
    later = review_trials(database, trials, FIRST + 4, lambda: 0.0)
    assert all(case.growth == 0 for case in later)


def test_of_a_tenant_that_was_forgotten_meanwhile_nothing_is_kept(database):
    trials = [(trial(tenant), CONFIG) for tenant in ("alder", "birch")]
    stand(database, trials)
    for one, _ in trials:
        serve(database, one.tenant, 2, 200)
    found = review_trials(database, trials, FIRST + 3)
    remove_rows(database, "alder")
    assert len(judge_trials(database, found, FIRST + 3)) == 2
    assert list(read_findings(database)) == ["birch"]
