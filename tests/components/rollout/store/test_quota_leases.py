"""Leases of shared quotas, on SQLite and PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from components.rollout.store.database import open_database_url
from components.rollout.store.quota_leases import BEAT_SECONDS, ROUNDING, LeaseRequest, QuotaLeases

KEY = ("acme", "requests")


class Clock:
    now_s = 1e9

    def __call__(self):
        return self.now_s


def ask(leases, key=KEY, per_minute=100.0, **values):
    granted, _ = leases.take([LeaseRequest(key=key, per_minute=per_minute, **values)], beats=False)
    return granted[key].taken, pytest.approx(granted[key].level, abs=per_minute / 10)


def test_a_lease_is_what_is_wanted_or_what_is_there_or_nothing_if_that_is_too_little(database):
    leases = QuotaLeases(database, "one")
    assert ask(leases, needed=60, least=60, wanted=60) == (60, 40)
    assert ask(leases, needed=60, least=60, wanted=70) == (0, 40)
    taken, level = ask(leases, needed=10, least=10, wanted=70)
    assert (round(taken, -1), level) == (40, 0)


def test_a_request_for_more_than_the_quota_overdraws_a_full_bucket(database):
    leases = QuotaLeases(database, "one")
    assert ask(leases, needed=100, least=300, wanted=300) == (300, -200)
    assert ask(leases, wanted=5) == (0, -200)


def test_what_is_owed_is_taken_in_any_case_and_what_is_given_back_fills_the_bucket_at_most(database):
    leases = QuotaLeases(database, "one")
    assert ask(leases, owed=150.0) == (0, -50)
    assert ask(leases, owed=-100.0) == (0, 50)
    assert ask(leases, owed=-500.0) == (0, 100)


def test_a_bucket_refills_with_the_clock_up_to_one_minutes_quota_and_a_clock_that_is_set_back_takes_nothing(tmp_path):
    database, clock = open_database_url(f"sqlite:///{tmp_path}/quotas.db"), Clock()
    leases = QuotaLeases(database, "one", clock)
    ask(leases, least=100, wanted=100)
    clock.now_s += 30
    assert ask(leases) == (0, 50)
    clock.now_s -= 1000
    assert ask(leases) == (0, 50)
    clock.now_s += 1010
    assert ask(leases) == (0, 50 + 10 / 60 * 100), "no moment flows in twice"
    clock.now_s += 60
    assert ask(leases) == (0, 100)
    database.close()


def test_servers_that_take_at_the_same_time_get_no_more_than_the_bucket_has(database):
    keys = [("birch", "tokens"), KEY, ("acme", "tokens")]
    wanted = {"per_minute": 1e-3, "needed": 1e-5, "least": 1e-5, "wanted": 1e-5}  # next to nothing flows in

    def take(number):
        leases, got = QuotaLeases(database, f"server {number}"), 0
        for turn in range(40):
            ordered = keys if (number + turn) % 2 else keys[::-1]
            granted, _ = leases.take([LeaseRequest(key=key, **wanted) for key in ordered], beats=turn % 5 == 0)
            got += granted[KEY].taken > 0
        return got

    with ThreadPoolExecutor(4) as pool:
        assert 99 <= sum(pool.map(take, range(4))) <= 160
    granted, _ = QuotaLeases(database, "reader").take([LeaseRequest(key=KEY, per_minute=1e-3)], beats=False)
    assert granted[KEY].level >= -ROUNDING, "a take that lacks less than this is served in full"


def test_servers_are_counted_until_they_leave_or_are_silent(tmp_path):
    database, clock = open_database_url(f"sqlite:///{tmp_path}/quotas.db"), Clock()
    one, other = (QuotaLeases(database, name, clock) for name in ("one", "other"))
    assert [leases.take([], beats=True)[1] for leases in (one, other, one)] == [1, 2, 2]
    clock.now_s += 4 * BEAT_SECONDS
    assert one.take([], beats=True)[1] == 1
    other.take([], beats=True)
    other.leave()
    assert one.take([], beats=True) == ({}, 1)
    database.close()
