"""The commands on channels and webhooks: tried, listed, sent; what is wrong exits 2 and shows no secret."""

import base64
import json

from receivers import Receiver

from components.rollout.types import LedgerEntry
from components.stages.notifications import announce
from components.stages.workspace import Workspace

SECRET = f"whsec_{base64.b64encode(b'0123456789abcdef').decode()}"
TOKEN = "tokenoftheroom12345"


def test_channels_and_webhooks_are_tried_listed_and_sent_to(call, make_root, set_params, monkeypatch):
    receiver = Receiver()
    root = make_root(())
    none = call(root, "notify", "test")
    assert none.exit_code == 2
    assert "got:    no channel and no webhook" in none.stderr
    assert "no channels and no webhooks" in call(root, "notify", "list").stdout
    with receiver.run() as url:
        channel = {"name": "ops", "url": "env:OPS_URL", "events": ["move"]}
        webhook = {"name": "crm", "url": url, "secret": "env:CRM_SECRET"}
        set_params(root, notify={"channels": [channel], "webhooks": [webhook]})
        missing = call(root, "notify", "test", "ops")
        assert missing.exit_code == 2
        assert "set OPS_URL in the environment" in missing.stderr
        unknown = call(root, "notify", "test", "ups")
        assert (unknown.exit_code, "got:    ops, crm" in unknown.stderr) == (2, True)

        monkeypatch.setenv("OPS_URL", f"nonsense://{TOKEN}")
        monkeypatch.setenv("CRM_SECRET", SECRET)
        mixed = call(root, "notify", "test")
        assert (mixed.exit_code, "crm: taken" in mixed.stdout) == (2, True)
        assert "which begins with 'nonsense'" in mixed.stdout
        assert TOKEN not in mixed.stdout + mixed.stderr
        monkeypatch.setenv("OPS_URL", f"json://127.0.0.1:{receiver.port}/{TOKEN}")
        good = call(root, "notify", "test")
        assert (good.exit_code, good.stdout) == (0, "ops: taken\ncrm: taken\n")

        workspace = Workspace(root)
        entry = LedgerEntry(tenant="acme", by="ada", action="promote", to_version="2", why="by hand")
        with workspace.database.transaction("a move") as connection:
            announce(workspace, connection, entry)
        receiver.status = 500
        assert "0 delivered, 2 failed, 0 given up" in call(root, "notify", "send").stdout
        listed = call(root, "notify", "list").stdout
        assert "status 500" in listed
        assert TOKEN not in listed
        assert "messages to crm, ops fail: 2 wait, 0 were given up" in call(root, "status").stdout
        with workspace.database.transaction("the time of the next try") as connection:
            connection.exec_driver_sql("UPDATE prefixfleet_deliveries SET next_try_s = 0")
        receiver.status = 200
        receiver.received.clear()
        assert "2 delivered, 0 failed" in call(root, "notify", "send").stdout
        workspace.database.close()
    assert [json.loads(body).get("type") for body, _ in receiver.received] == ["info", "version.promoted"]
