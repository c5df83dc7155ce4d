"""Moves and what tells of them are written together; a process that is killed before it sends loses nothing."""

import json
import os
import signal
import time
from types import SimpleNamespace

import pytest
from receivers import Receiver

from components.config.notify import NotifyConfig
from components.errors import RegistryError
from components.rollout.store.database import open_database_url
from components.rollout.store.deliveries import claim_due, count_deliveries
from components.rollout.store.event_outbox import take_events
from components.rollout.store.ledger import read_history, write_entries
from components.rollout.types import LedgerEntry
from components.stages.notifications import announce, announce_stop, has_notifications, send_notifications

SECRET = "whsec_c2VjcmV0IG9mIHRoZSB0ZXN0cw=="
ROLLBACK = LedgerEntry(tenant="acme", by="ada", action="rollback", from_version="2", to_version="1", why="by hand")


def make_workspace(root, url):
    config = NotifyConfig(webhooks=[{"name": "crm", "url": url, "secret": "env:CRM_SECRET"}])
    database = open_database_url(f"sqlite:///{root}/fleet.db")
    return SimpleNamespace(root=root, database=database, params=SimpleNamespace(notify=config))


@pytest.fixture
def make(tmp_path, monkeypatch):
    monkeypatch.setenv("CRM_SECRET", SECRET)
    made = []

    def make_one(url):
        made.append(make_workspace(tmp_path, url))
        return made[-1]

    yield make_one
    for workspace in made:
        workspace.database.close()


def record(workspace, *entries, fails=False):
    with workspace.database.transaction("moves") as connection:
        write_entries(connection, *entries)
        announce(workspace, connection, *entries)
        assert not fails or 1 / 0


def test_a_move_is_told_to_prefect_and_webhooks_if_it_is_made_and_only_then(make):
    workspace = make("http://127.0.0.1:9/hook")
    with pytest.raises(ZeroDivisionError):
        record(workspace, ROLLBACK, fails=True)
    assert not has_notifications(workspace)
    record(workspace, ROLLBACK, LedgerEntry(tenant="acme", by="ada", action="pin"), _make_entry("prune"))
    with take_events(workspace.database) as events:
        assert events == [ROLLBACK], "Prefect's automations are told of rollbacks, rejections and drift"
    told = claim_due(workspace.database, "crm", 9, time.time())
    assert [one.type for one in told] == ["version.rolled_back", "champion.pinned"]
    assert not has_notifications(workspace), "they are claimed"


def _make_entry(action):
    return LedgerEntry(tenant="acme", by="ada", action=action)


def test_a_run_that_an_error_stops_is_told_in_words_that_quote_nobody(make):
    workspace = make("http://127.0.0.1:9/hook")
    errors = (RegistryError("MLflow", "silence", "start it"), ValueError("a tenant's text"))
    for number, error in enumerate(errors, 41):
        with pytest.raises(type(error)), announce_stop(workspace, number, "schedule"):
            raise error
    told = [json.loads(one.payload) for one in claim_due(workspace.database, "crm", 9, time.time())]
    assert [one["type"] for one in told] == ["night.stopped"] * 2
    assert [(one["data"]["run"], one["data"]["why"]) for one in told] == [
        (41, "wanted MLflow; got silence; start it"),
        (42, "ValueError; see the run's log"),
    ]


def test_what_a_killed_process_had_not_sent_is_sent_once_by_the_next_one(make, tmp_path):
    receiver = Receiver()
    with receiver.run() as url:
        child = os.fork()
        if child == 0:
            record(make_workspace(tmp_path, url), ROLLBACK)
            os.kill(os.getpid(), signal.SIGKILL)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
        assert receiver.received == []
        workspace = make(url)
        assert [one.action for one in read_history(workspace.database)] == ["rollback"]
        assert has_notifications(workspace)
        assert send_notifications(workspace, None).delivered == 1
        assert send_notifications(workspace, None).delivered == 0
    ((body, _),) = receiver.received
    assert json.loads(body)["data"]["tenant"] == "acme"


def test_a_receiver_that_is_down_stops_nothing_and_is_shown(make, caplog):
    receiver = Receiver()
    with receiver.run() as url:
        pass
    workspace = make(url)
    record(workspace, ROLLBACK)
    with caplog.at_level("WARNING", logger="prefixfleet"):
        assert send_notifications(workspace, None).problems == ["crm: no answer (ConnectError)"]
    assert "not told, the next flow tries again: crm: no answer (ConnectError)" in caplog.text
    counts = count_deliveries(workspace.database)["crm"]
    assert (counts.waiting, counts.problem) == (1, "no answer (ConnectError)")


def test_a_database_that_fails_stops_nothing(make, caplog):
    workspace = make("http://127.0.0.1:9/hook")
    with workspace.database.transaction("a broken table") as connection:
        connection.exec_driver_sql("DROP TABLE prefixfleet_deliveries")
    with caplog.at_level("WARNING", logger="prefixfleet"):
        send_notifications(workspace, None)
        with pytest.raises(ZeroDivisionError), announce_stop(workspace, 1, "schedule"):
            raise ZeroDivisionError
    assert "no messages are sent" in caplog.text
    assert "nobody is told that the run was stopped" in caplog.text
