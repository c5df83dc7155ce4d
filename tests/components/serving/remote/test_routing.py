"""Rendezvous hashing with bounded load."""

from collections import Counter

from components.serving.remote.routing import FREE_ROWS, LOAD_FACTOR, rank_engines

NAMES = [f"http://10.0.0.{number}:8001" for number in range(5)]
IDLE = dict.fromkeys(NAMES, 0)
KEYS = [f"{number:064x}" for number in range(500)]


def test_the_same_artifact_goes_to_the_same_engine_and_artifacts_spread_evenly() -> None:
    first = {key: rank_engines(key, IDLE)[0] for key in KEYS}
    assert first == {key: rank_engines(key, dict(reversed(IDLE.items())))[0] for key in KEYS}
    assert all(60 <= count <= 140 for count in Counter(first.values()).values())


def test_without_an_engine_only_its_own_artifacts_move() -> None:
    gone = NAMES[2]
    fewer = {name: 0 for name in NAMES if name != gone}
    for key in KEYS:
        order = rank_engines(key, IDLE)
        assert rank_engines(key, fewer) == [name for name in order if name != gone]


def test_one_artifact_in_great_demand_spreads_within_the_bound() -> None:
    in_flight = dict(IDLE)
    for _ in range(400):
        in_flight[rank_engines(KEYS[0], in_flight)[0]] += 1
    assert max(in_flight.values()) <= LOAD_FACTOR * 401 / 5 + 1
    assert sum(in_flight.values()) == 400


def test_a_slow_engine_gets_less() -> None:
    slow = NAMES[0]
    in_flight, asked = dict(IDLE), Counter[str]()
    for number in range(2000):
        name = rank_engines(KEYS[number % 500], in_flight)[0]
        asked[name] += 1
        in_flight[name] += 1
        for other in NAMES:  # the others finish ten times as many
            if in_flight[other] and (other != slow or number % 10 == 0):
                in_flight[other] -= 1
    assert asked[slow] < 2000 / 5 * 0.75


def test_a_few_rows_stay_on_one_engine_and_full_engines_come_last_the_least_busy_first() -> None:
    best, *others = rank_engines(KEYS[0], IDLE)
    assert rank_engines(KEYS[0], IDLE | {best: FREE_ROWS - 1})[0] == best
    full = {best: 40, others[0]: 30, **dict.fromkeys(others[1:], 1)}
    assert rank_engines(KEYS[0], full)[-2:] == [others[0], best]
    assert rank_engines(KEYS[0], {}) == []
