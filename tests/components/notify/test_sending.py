"""What is due is sent, signed, to real receivers; one that is down gets it later with the same id, or never."""

import base64
import hashlib
import hmac
import json
from contextlib import closing

import pytest
from receivers import Receiver

from components.config.notify import NotifyConfig
from components.errors import ConfigError
from components.notify.events import describe_move, make_deliveries
from components.notify.sending import SendingContext, check_target, send_due, send_test
from components.rollout.store.database import open_database_url
from components.rollout.store.deliveries import add_deliveries, count_deliveries
from components.rollout.types import LedgerEntry

KEY, OLD_KEY = b"0123456789abcdef0123456789abcdef", b"fedcba9876543210"
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"
OLD_SECRET = f"whsec_{base64.b64encode(OLD_KEY).decode()}"
START_S = 1_800_000_000.0


def list_signatures(key, headers, body):
    """By the text of the standard: base64 of HMAC-SHA256 over id, time and body, joined by full stops."""
    content = b".".join([headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body])
    wanted = "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    return [one == wanted for one in headers["webhook-signature"].split(" ")]


@pytest.fixture
def database(tmp_path):
    with closing(open_database_url(f"sqlite:///{tmp_path}/fleet.db")) as opened:
        yield opened


class Fleet:
    """A database with events, and a clock."""

    def __init__(self, database, root, environment=None):
        self.database, self.root, self.now_s = database, root, START_S
        self.environment = {"CRM": SECRET, **(environment or {})}

    def tell(self, config, *tenants):
        with self.database.transaction("moves") as connection:
            for tenant in tenants:
                entry = LedgerEntry(tenant=tenant, by="ada", action="promote", to_version="2", why="by hand")
                add_deliveries(connection, make_deliveries(config, describe_move(entry)), self.now_s)

    @property
    def context(self):
        return SendingContext(
            root=self.root, read_block=None, environment=self.environment, now_s=lambda: self.now_s, timer=lambda: 0.0
        )

    def send(self, config):
        return send_due(self.database, config, self.context)


@pytest.fixture
def fleet(database, tmp_path):
    return Fleet(database, tmp_path)


def make_webhook(url, **values):
    return NotifyConfig(webhooks=[{"name": "crm", "url": url, "secret": "env:CRM"}], **values)


def test_each_event_is_delivered_once_signed_and_in_order(fleet):
    receiver = Receiver()
    with receiver.run() as url:
        config = make_webhook(url)
        fleet.tell(config, "acme", "birch")
        assert fleet.send(config).delivered == 2
        assert fleet.send(config).delivered == 0
    tenants, ids = [], []
    for body, headers in receiver.received:
        assert list_signatures(KEY, headers, body) == [True]
        assert list_signatures(KEY, headers, body + b" ") == [False]
        assert headers["webhook-timestamp"] == str(int(START_S))
        event = json.loads(body)
        assert event["id"] == headers["webhook-id"]
        tenants.append(event["data"]["tenant"])
        ids.append(event["id"])
    assert tenants == ["acme", "birch"]
    assert len(set(ids)) == 2


def test_while_a_key_is_changed_deliveries_have_a_signature_by_each(fleet):
    receiver = Receiver()
    fleet.environment["CRM"] = f"{SECRET} {OLD_SECRET}"
    with receiver.run() as url:
        config = make_webhook(url)
        fleet.tell(config, "acme")
        fleet.send(config)
    body, headers = receiver.received[0]
    assert list_signatures(KEY, headers, body) == [True, False]
    assert list_signatures(OLD_KEY, headers, body) == [False, True]


def test_a_receiver_that_is_down_gets_it_later_and_later_with_the_same_id(fleet):
    receiver = Receiver()
    with receiver.run() as url:
        config = make_webhook(url)
        fleet.tell(config, "acme", "birch")
        receiver.status = 503
        assert fleet.send(config).problems == ["crm: status 503"]
        assert len(receiver.received) == 1, "the second event is not tried at a receiver that is down"
    for pause_s in (5, 10):
        fleet.now_s += pause_s
        assert fleet.send(config).problems == ["crm: no answer (ConnectError)"]
    receiver.status = 200
    with receiver.run():
        fleet.now_s += 20
        assert fleet.send(config).delivered == 2
    first, again, other = (headers["webhook-id"] for _, headers in receiver.received)
    assert first == again != other


def test_an_event_that_is_refused_for_itself_keeps_no_other_one_back_and_is_given_up_after_three_days(fleet):
    receiver = Receiver()
    with receiver.run() as url:
        config = make_webhook(url)
        receiver.status = 422
        fleet.tell(config, "acme", "birch")
        assert fleet.send(config).problems == ["crm: status 422"] * 2
        fleet.now_s += 71 * 3600
        assert fleet.send(config).given_up == 0
        fleet.now_s += 2 * 3600
        assert fleet.send(config).given_up == 2
        assert fleet.send(config).problems == []
    counts = count_deliveries(fleet.database)["crm"]
    assert (counts.waiting, counts.given_up, counts.problem) == (0, 2, "status 422")


def test_a_channel_gets_one_message_for_all_and_a_failing_target_keeps_no_other_one_back(fleet, tmp_path):
    receiver = Receiver()
    (tmp_path / "ops").write_text("")
    with receiver.run() as url:
        config = NotifyConfig(
            fleet="Acme",
            channels=[
                {"name": "ops", "url": "file:ops", "events": ["move"]},
                {"name": "blocked", "url": "block:ops", "events": ["move"]},
                {"name": "chat", "url": "env:CHAT", "events": ["move"]},
            ],
            webhooks=[{"name": "crm", "url": url, "secret": "env:CRM"}],
        )
        fleet.environment["CHAT"] = f"json://127.0.0.1:{receiver.port}/chat"
        fleet.tell(config, "acme", "birch", "cedar")
        result = fleet.send(config)
        assert (result.delivered, len(result.problems)) == (6, 1)
        assert (
            "ops: wanted a text in the file ops, for the url of the channel ops (file:ops); got none"
            in result.problems[0]
        )
        (tmp_path / "ops").write_text(f"json://127.0.0.1:{receiver.port}/ops")
        fleet.now_s += 5
        assert fleet.send(config).delivered == 3
    bodies = {path: json.loads(body) for path, (body, _) in zip(receiver.paths, receiver.received, strict=True)}
    assert receiver.paths == ["/chat", "/hook", "/hook", "/hook", "/ops"]
    assert bodies["/chat"]["title"] == bodies["/ops"]["title"] == "[Acme] 3 promoted"
    assert count_deliveries(fleet.database)["blocked"].waiting == 3, "left to a process that knows Prefect"


def test_targets_are_checked_and_tried(fleet):
    receiver = Receiver()
    with receiver.run() as url:
        config = make_webhook(url)
        (target,) = config.targets
        check_target(target, fleet.context)
        assert send_test(config, target, fleet.context) == ""
        receiver.status = 500
        assert send_test(config, target, fleet.context) == "status 500"
    body, headers = receiver.received[0]
    assert json.loads(body)["type"] == "test"
    assert list_signatures(KEY, headers, body) == [True]
    for secret, words in (
        ("", "set CRM in the environment"),
        ("whsec_%%", "whsec_ and base64"),
        (" x", "another text"),
    ):
        fleet.environment["CRM"] = secret
        with pytest.raises(ConfigError, match=words):
            check_target(target, fleet.context)
