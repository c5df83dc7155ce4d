"""Requests of each arm over time, in few periods."""

from dataclasses import replace

from traffic import make_cell

from components.rollout.store.observations import write_counts
from components.rollout.store.trial_traffic import TrafficPeriod, read_trial_traffic
from components.rollout.types import Observation, RolloutState, ShareChange

TRIAL = RolloutState(tenant="acme", champion="1", challenger="2", changes=(ShareChange(6_000, 0.5),))


def test_requests_are_counted_by_arm_and_period(database):
    cells = [make_cell("champion", minute, requests=3) for minute in (99, 100, 101, 110)]
    cells += [make_cell("challenger", minute, requests=1) for minute in (100, 120)]
    cells.append(replace(cells[1], section=6_000))  # evidence, which all answers include
    cells.append(Observation(tenant="other", version="1", arm="champion", minute=100, requests=50))
    write_counts(database, cells)
    assert read_trial_traffic(database, TRIAL, 120) == (
        1,
        [TrafficPeriod(100, 3, 1), TrafficPeriod(101, 3, 0), TrafficPeriod(110, 3, 0)],
    )
    length, periods = read_trial_traffic(database, TRIAL, 2_100)
    assert (length, [(one.champion, one.challenger) for one in periods]) == (10, [(6, 1), (3, 0), (0, 1)])
    assert read_trial_traffic(database, TRIAL, 50) == (1, [])
