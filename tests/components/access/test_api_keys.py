import sqlite3

import pytest

from components.access.api_keys import ApiKeys, parse_duration
from components.config import TENANT_ID
from components.errors import ConfigError, WorkspaceError
from components.rollout.store.database import open_database_url


class Clock:
    now_s = 1000.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def database(tmp_path):
    opened = open_database_url(f"sqlite:///{tmp_path}/keys.db")
    yield opened
    opened.close()


@pytest.fixture
def timer():
    return Clock()


@pytest.fixture
def keys(database, clock, timer):
    return ApiKeys(database, clock, timer=timer)


def test_a_key_grants_its_tenant_and_a_wrong_key_nothing(keys):
    assert not keys.has_any()
    made = [keys.create("alder", "ci"), keys.create("alder"), keys.create("birch"), keys.create(None)]
    assert keys.has_any()
    for key, text in made:
        assert keys.verify(text) == key
    name, secret = made[0][1].split("-", 2)[1:]
    other = made[2][1].split("-", 2)[2]
    for wrong in (
        "",
        "pf",
        "pf-",
        f"pf-{name}",
        f"pf-{name}-",
        f"pf-{name}-{other}",
        f"sk-{name}-{secret}",
        "ü\ud800-x-y",
    ):
        assert keys.verify(wrong) is None
    assert [key.tenant for key in keys.list()] == ["alder", "alder", "birch", None]
    assert [key.role for key in keys.list()] == ["tenant", "tenant", "tenant", "admin"]
    assert [key.note for key in keys.list("alder")] == ["ci", ""]


def test_the_secret_is_not_in_the_database(keys, tmp_path):
    _, text = keys.create("alder")
    dump = "\n".join(sqlite3.connect(tmp_path / "keys.db").iterdump())
    assert text.split("-", 2)[1] in dump
    assert text.split("-", 2)[2] not in dump


@pytest.mark.parametrize("step_s", [0, -3600, 3600])
def test_a_server_refuses_expired_and_revoked_keys_without_a_restart_however_its_clock_is_set(
    keys, database, clock, timer, step_s
):
    server = ApiKeys(database, clock, fresh_seconds=2, timer=timer)
    expiring, expiring_text = keys.create("alder", seconds=60)
    key, text = keys.create("alder")
    assert (server.verify(expiring_text), server.verify(text)) == (expiring, key)
    keys.revoke(key.id)
    assert server.find_fresh(key.id)[0] == key
    clock.now_s += step_s
    timer.now_s += 2
    assert server.find_fresh(key.id) is None
    assert server.verify(text) is None
    timer.now_s += 58
    clock.now_s += 60
    assert server.verify(expiring_text) is None
    assert server.find_fresh(expiring.id)[0] == expiring, "what was read is fresh, and it has expired"
    assert keys.has_any()
    with pytest.raises(ConfigError, match="the id of a key"):
        keys.revoke("nothing")


def test_a_key_is_valid_again_when_a_clock_that_was_ahead_is_corrected(keys, clock, timer):
    key, text = keys.create("alder", seconds=600)
    clock.now_s += 3600
    assert keys.verify(text) is None
    clock.now_s -= 3590
    timer.now_s += 10
    assert keys.verify(text) == key


def test_known_keys_stay_valid_while_the_database_fails(database, clock, timer, monkeypatch):
    keys, failed = ApiKeys(database, clock, fresh_seconds=2, timer=timer), []
    known, text = keys.create("alder")
    _, unseen = keys.create("birch")
    assert keys.verify(text) == known

    def fail(wanted):
        failed.append(wanted)
        raise WorkspaceError("a key", "no database", "start it")

    monkeypatch.setattr(database, "connect", fail)
    timer.now_s += 100
    for _ in range(5):
        assert keys.verify(text) == known
    assert len(failed) == 1, "requests do not wait for the failing database one by one"
    with pytest.raises(WorkspaceError):
        keys.verify(unseen)


def test_a_forgotten_tenant_has_no_keys(keys):
    keys.create("alder")
    keys.create("birch")
    assert keys.forget("alder") == 1
    assert [key.tenant for key in keys.list()] == ["birch"]


@pytest.mark.parametrize(("text", "seconds"), [("90d", 7_776_000), ("12h", 43_200), ("30m", 1800), ("45s", 45)])
def test_a_duration_has_a_number_and_a_unit(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "d", "0d", "-1d", "1.5h", "90", "9w", "²d"])
def test_another_form_of_a_duration_is_refused(text):
    with pytest.raises(ConfigError, match="a duration"):
        parse_duration(text)


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_a_key_with_a_role_grants_earlier_releases_nothing(keys, database, role):
    """They take a key without a tenant for an admin's, and compare others with the tenant of a request."""
    made, text = keys.create(None, "ada", role=role)
    assert (made.tenant, made.role, keys.verify(text)) == (None, role, made)
    with database.connect("a test") as connection:
        stored = connection.exec_driver_sql("SELECT tenant FROM prefixfleet_keys").scalar()
    assert stored is not None
    assert not TENANT_ID.fullmatch(stored)


def test_a_role_of_a_later_release_grants_nothing(keys, database):
    _, text = keys.create(None, role="viewer")
    with database.transaction("a test") as connection:
        connection.exec_driver_sql("UPDATE prefixfleet_keys SET tenant = '*auditor'")
    assert (keys.verify(text).tenant, keys.verify(text).role) == ("*auditor", "tenant")
