from contextlib import closing

import pytest
from typer.testing import CliRunner

from cli.main import app
from components.rollout.store.ledger import read_history
from components.stages.rollout.actors import find_current_user
from components.stages.workspace import Workspace


@pytest.fixture
def call(make_root):
    root = make_root(())

    def invoke(*arguments):
        return CliRunner().invoke(app, ["-C", str(root), "keys", *arguments])

    invoke.root = root
    return invoke


def test_a_key_is_made_shown_once_listed_and_revoked(call):
    made = call("create", "alder", "--expires", "90d", "--note", "ci")
    assert made.exit_code == 0
    text = made.stdout.strip()
    name, secret = text.removeprefix("pf-").split("-", 1)
    listed = call("list").stdout
    assert name in listed
    assert "ci" in listed
    assert secret not in listed
    assert call("revoke", name).exit_code == 0
    assert "(admin)" not in call("list", "alder").stdout
    assert call("create", "--admin").exit_code == 0
    assert "(admin)" in call("list").stdout
    assert call("revoke", name).exit_code == 0, "again: nothing is recorded"
    with closing(Workspace(call.root).database) as database:
        entries = read_history(database)
    assert [(one.action, one.tenant, one.why) for one in entries] == [
        ("create-key", "alder", f"key {name} of alder"),
        ("revoke-key", "alder", f"key {name} of alder"),
        ("create-key", "", entries[2].why),
    ]
    assert entries[2].why.endswith("of an admin")
    assert {(one.by, one.origin.split(" over ")[0]) for one in entries} == {(find_current_user(), "command line")}
    viewer = call("create", "--role", "viewer")
    assert "of a viewer, expires" in viewer.stderr
    assert "(viewer)" in call("list").stdout


@pytest.mark.parametrize(("data", "is_noted"), [((), False), (("alder",), False), (("birch",), True)])
def test_a_key_of_a_tenant_without_data_has_a_note_where_others_have_data(make_root, data, is_noted):
    root = make_root(())
    for tenant in data:
        (root / "drops" / tenant).mkdir(parents=True)
    made = CliRunner().invoke(app, ["-C", str(root), "keys", "create", "alder"])
    assert (made.exit_code, len(made.stdout.split())) == (0, 1)
    assert ("alder has no data in this workspace" in made.stderr) == is_noted


@pytest.mark.parametrize(
    "arguments",
    [
        ["create"],
        ["create", "alder", "--admin"],
        ["create", "alder", "--role", "viewer"],
        ["create", "--admin", "--role", "viewer"],
        ["create", "Not A Tenant"],
        ["create", "a", "--expires", "x"],
        ["revoke", "x"],
    ],
)
def test_what_cannot_be_done_exits_2(call, arguments):
    told = call(*arguments)
    assert told.exit_code == 2
    assert "wanted:" in told.stderr


def test_serving_elsewhere_without_keys_exits_2(make_root):
    told = CliRunner().invoke(app, ["-C", str(make_root(())), "serve", "--host", "0.0.0.0"])
    assert told.exit_code == 2
    assert "an API key, to serve on 0.0.0.0" in told.stderr
