"""The commands on versions and trials, and `generate` with the champion that they made."""

import json
import sqlite3

from processes import PREFIXFLEET, run_in

from components.rollout.store.feedback import Feedback, save_feedback
from components.stages import register
from components.stages.plan import plan
from components.stages.rollout.cycle import TenantCycleResult
from components.stages.workspace import Workspace


def test_a_version_is_promoted_pinned_and_used_and_its_moves_are_listed(call, make_root):
    root = make_root(("alder",))
    for stage in ("base", "train", "evaluate", "gate"):
        result = call(root, "stage", stage)
        assert result.exit_code == 0, result.output
    workspace = Workspace(root)
    register.roll_out(workspace, register.register(workspace, plan(workspace).collect_fingerprints())[0], [])
    assert call(root, "promote", "alder", "--version", "1").exit_code == 0
    assert call(root, "rollback", "alder").exit_code == 2
    assert call(root, "pause", "alder").exit_code == 2
    for arguments in (["pin", "alder"], ["pin", "alder", "--off"]):
        assert call(root, *arguments).exit_code == 0
    result = call(root, "history", "alder").stdout
    assert [action for action in ("promote", "pin", "unpin", "rollback") if action in result] == [
        "promote",
        "pin",
        "unpin",
    ]
    unknown = call(root, "history", "birch")
    assert unknown.exit_code == 2
    assert "got:    birch, without any" in unknown.stderr
    moves = [json.loads(line) for line in call(root, "history", "alder", "--json").stdout.splitlines()]
    assert [move["action"] for move in moves] == ["promote", "promote", "pin", "unpin"]
    assert [move["origin"].startswith("command line") for move in moves] == [False, True, True, True]
    assert "command line" in result
    assert "birch" not in call(root, "history").stdout
    intact = call(root, "history", "--verify")
    assert (intact.exit_code, "ledger's 4 lines continue the hash chain" in intact.stdout) == (0, True)
    with sqlite3.connect(root / "var" / "prefixfleet.db") as connection:
        connection.execute("DROP TRIGGER prefixfleet_ledger_no_update")
        connection.execute("UPDATE prefixfleet_ledger SET why = 'eve' WHERE id = 3")
    connection.close()
    broken = call(root, "history", "--verify")
    assert broken.exit_code == 2
    assert "line 3 (alder, pin, " in broken.stderr
    assert call(root, "forget", "alder").exit_code == 1  # the question has no answer
    text = call(root, "generate", "alder", "thing: boat")
    assert text.exit_code == 0, text.output
    assert call(root, "generate", "alder", "  ").exit_code == 2
    assert call(root, "generate", "alder", "x" * 500).exit_code == 2


def test_it_is_listed_who_sent_each_correction(call, make_root):
    root = make_root(("alder",))
    unknown = call(root, "corrections", "alder")
    assert unknown.exit_code == 2
    assert "got:    alder, without any" in unknown.stderr
    sent = {"key_id": "k1", "end_user": "ada\x1b[2J", "source": "thing: boat", "corrected": "a boat"}
    save_feedback(
        Workspace(root).database, Feedback(tenant="alder", version="1", arm="champion", request="cmpl-1", **sent)
    )
    listed = call(root, "corrections", "alder").stdout
    assert "\x1b" not in listed
    assert all(word in listed for word in ("k1", "ada", "waiting"))
    (line,) = call(root, "corrections", "alder", "--json").stdout.splitlines()
    assert {name: json.loads(line)[name] for name in ("key_id", "end_user", "request", "state", "line_sha256")} == {
        "key_id": "k1",
        "end_user": "ada\x1b[2J",
        "request": "cmpl-1",
        "state": "waiting",
        "line_sha256": None,
    }


def test_a_cycle_prints_who_is_on_trial_and_what_it_waits_for(call, make_root, monkeypatch):
    waiting = TenantCycleResult("birch", "wait", "1", "2", "waiting for 20 more requests")
    moved = TenantCycleResult("cedar", "rollback", "1", "2", "errors: worse")
    monkeypatch.setattr("flows.run_local.run_flow", lambda *_: ([waiting, moved], []))
    assert call(make_root(("alder",)), "rollout").stdout.splitlines() == [
        "cedar, challenger 2: rolled back: errors: worse",
        "birch, challenger 2: waiting: waiting for 20 more requests",
        "1 waiting, 1 rolled back",
    ]


def test_forget_does_nothing_without_a_confirmation(call, make_root):
    root = make_root(("alder",))
    result = call(root, "forget", "alder")
    assert result.exit_code == 1
    assert "This cannot be undone." in result.output
    assert (root / "data" / "alder" / "train.jsonl").is_file()


def test_a_cycle_with_nothing_to_do_starts_no_prefect_server(make_root):
    root = make_root(("alder",))
    assert run_in(root, PREFIXFLEET, "rollout", own_prefect=True).stdout == "no trials\n"
    assert not (root / "var/prefect").exists()
