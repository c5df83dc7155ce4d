"""The commands `watch` and `causes`."""

import json

from components.rollout.store.causes import Cause, close_causes, open_causes
from components.stages.workspace import Workspace


def test_causes_are_listed_newest_first_as_a_table_and_as_json(call, make_root):
    root = make_root(("alder",))
    assert call(root, "causes").stdout.startswith("no cause yet; ")
    database = Workspace(root).database
    first, second = (
        Cause(tenant="alder", id=f"arrival-{number}", kind="arrival", why=why, opened_at=f"2026-01-0{number}T00:00:00")
        for number, why in ((1, "new data arrived"), (2, "more data arrived"))
    )
    with database.transaction("to open causes") as connection:
        open_causes(connection, [first, second])
    close_causes(database, [first], ["1 trained, 1 promoted of 1 tenants"])
    lines = [json.loads(line) for line in call(root, "causes", "--json").stdout.splitlines()]
    assert [(one["id"], bool(one["closed_at"])) for one in lines] == [("arrival-2", False), ("arrival-1", True)]
    shown = " ".join(call(root, "causes", "--last", "1").stdout.split())
    assert "more data arrived" in shown
    assert "open, 0 tries" in shown
    assert "1 trained" not in shown


def test_watch_names_what_a_workspace_lacks_before_it_looks(call, make_root):
    result = call(make_root(("alder",), triggers={"arrival": {}}), "watch")
    assert result.exit_code == 2
    assert "no git repository" in result.stderr
