"""One message tells all that a channel has not been told, the night first, in a few plain lines."""

import json

from components.config.notify import NotifyConfig
from components.notify.events import TEST, FleetEvent, describe_move, describe_run, describe_stop, make_deliveries
from components.notify.messages import write_message
from components.rollout.store.deliveries import Delivery
from components.rollout.store.runs import RunEntry, RunTenant
from components.rollout.types import LedgerEntry

CONFIG = NotifyConfig(channels=[{"name": "ops", "url": "env:OPS", "events": ["night", "stopped", "rollback", "move"]}])
AT = "2026-11-29T02:00:00+00:00"
RUN = RunEntry(
    id=41, began_at=AT, ended_at=AT, trigger="schedule", by="ada@desk", dataset_version="0f3c9a.dir", unchanged=960
)


def write(*events):
    found = [
        Delivery(
            **{name: getattr(one, name) for name in type(one).__slots__},
            **{"id": 1, "created_s": 0, "next_try_s": 0, "tries": 0, "problem": "", "state": "waiting"},
        )
        for event in events
        for one in make_deliveries(CONFIG, event)
    ]
    return write_message("Acme", found)


def move(action="promote", **values):
    entry = {"tenant": "acme", "by": "ada", "from_version": "1", "to_version": "2", "why": "by hand", **values}
    return describe_move(LedgerEntry(action=action, **entry))


def test_a_night_says_first_what_needs_a_person():
    tenants = [
        RunTenant(tenant="alder", result="promoted", device_seconds=5),
        RunTenant(tenant="birch", result="rejected", detail="BLEU 3 is below its floor of 40."),
        RunTenant(tenant="cedar", result="failed", detail="train: loss\n\x1b[31mis nan"),
    ]
    night, failure = describe_run(RUN, tenants, "https://fleet.example/console/nights/41/report")
    assert (night.is_needed, failure.group, failure.data["run"]) == (True, "failure", 41)
    message = write(night, failure)
    assert message.title == "[Acme] run 41: 1 failed, 1 rejected, 1 promoted"
    lines = message.body.splitlines()
    assert lines[0].startswith("Run 41, started by schedule (ada@desk), ")
    assert lines[4:] == [
        "Needs a person:",
        "- cedar: failed: train: loss [31mis nan",
        "- birch: rejected: BLEU 3 is below its floor of 40.",
        "",
        "Report: https://fleet.example/console/nights/41/report",
    ]


def test_a_night_of_a_thousand_tenants_is_short():
    tenants = [RunTenant(tenant=f"t-{number}", result="failed", detail="x" * 900) for number in range(1000)]
    night, *failures = describe_run(RUN, tenants, "")
    assert (len(failures), len(night.data["needs_person"]), night.data["needs_person_count"]) == (1000, 50, 1000)
    message = write(night)
    assert "- and 985 more" in message.body
    assert len(message.body) < 5_000


def test_a_night_that_needs_nobody_is_not_told_to_a_channel_for_what_is_needed():
    config = NotifyConfig(
        channels=[
            {"name": "all", "url": "env:A"},
            {"name": "few", "url": "env:A", "only_if_needed": True},
            {"name": "moves", "url": "env:A", "events": ["move"]},
        ],
        webhooks=[{"name": "crm", "url": "https://a", "secret": "env:B"}],
    )
    (good,) = describe_run(RUN, [RunTenant(tenant="alder", result="promoted")], "")
    assert [one.target for one in make_deliveries(config, good)] == ["all", "crm"]
    (bad,) = describe_run(RUN, [RunTenant(tenant="alder", result="rejected")], "")
    assert [one.target for one in make_deliveries(config, bad)] == ["all", "few", "crm"]
    assert [one.target for one in make_deliveries(config, move())] == ["moves", "crm"]
    assert len({one.event for one in make_deliveries(config, bad)}) == 1


def test_moves_are_told_in_one_line_each_and_many_are_counted():
    rolled_back = move("rollback", from_version="2", to_version="1", why="errors: 40 bad of 200")
    assert write(rolled_back) == (
        "[Acme] acme: rolled back",
        "- acme: rolled back version 2, champion is 1, by ada: errors: 40 bad of 200",
    )
    many = write(rolled_back, *(move(tenant=f"t-{number}") for number in range(60)))
    assert many.title == "[Acme] 1 rolled back; 60 promoted"
    assert many.body.splitlines()[-1] == "and 21 more; see `prefixfleet history`"
    stopped = write(describe_stop(42, "schedule", "wanted MLflow; got silence; start it"), move())
    assert stopped.title == "[Acme] run 42 was stopped by an error; acme: promoted"
    assert "was stopped by an error: wanted MLflow; got silence; start it" in stopped.body
    assert describe_move(LedgerEntry(tenant="acme", by="ada", action="prune")) is None
    loud = write(move(why="@channel <!here> <!subteam^S1> <@U1> ada@host"))
    assert loud.body.endswith("@\u200bchannel <\u200b!here> <\u200b!subteam^S1> <\u200b@U1> ada@host")


def test_the_body_of_an_event_has_the_form_of_standard_webhooks_and_tells_no_address():
    config = NotifyConfig(fleet="Acme", webhooks=[{"name": "crm", "url": "https://a", "secret": "env:B"}])
    entry = move("challenge", figures={"mode": "canary", "share": 0.05, "n": 3}, origin="console from 10.0.0.7")
    (delivery,) = make_deliveries(config, entry)
    body = json.loads(delivery.payload)
    assert (body["id"], body["type"], body["fleet"]) == (delivery.event, "version.challenged", "Acme")
    assert body["data"] == {
        **{"tenant": "acme", "action": "challenge", "from_version": "1", "to_version": "2", "by": "ada"},
        **{"why": "by hand", "mode": "canary", "share": 0.05},
    }
    test = FleetEvent(type=TEST, at=AT, data={})
    assert test.group is None
