"""Callers' corrections are added to drops, once, up to a share of the training data, and it is known who sent each."""

import hashlib
import json
import sqlite3

import pytest
import sqlalchemy as sql
from hypothesis import given
from hypothesis import strategies as st
from observations import read_observations

from components.data.schema import read_split
from components.rollout.store.corrections import read_correction_origins, read_corrections
from components.rollout.store.feedback import Feedback, save_feedback
from components.stages.rollout.corrections import compute_room, deliver_corrections

ANY_SHARE = {"max_corrections": 1.0}
SQLITE_VARIABLES = 32_766
"""As many as SQLite takes in one statement by default; some systems' SQLite takes more."""


def make_feedback(**changes):
    return Feedback(**{"tenant": "acme", "version": "2", "arm": "challenger", "request": "r1", **changes})


def add_corrections(fleet, count, key_id="k1", start=0):
    for number in range(start, start + count):
        texts = {"source": f"s{number}", "corrected": f"c{number} by {key_id}"}
        save_feedback(fleet.workspace.database, make_feedback(request=f"r{number}", key_id=key_id, **texts))


def read_drop(fleet, tenant="acme"):
    return read_split(fleet.root / "drops" / tenant / "train.jsonl", fleet.workspace.params.data)


def test_corrections_are_delivered_once_and_counted(make_fleet, write_lines, caplog):
    fleet = make_fleet({}, data=ANY_SHARE)
    database = fleet.workspace.database
    path = fleet.root / "drops" / "acme" / "train.jsonl"
    write_lines(path, [{"source": "a", "references": ["b"]}])
    path.write_bytes(path.read_bytes().removesuffix(b"\n"))
    save_feedback(database, make_feedback(request="r1", rating=1.0))
    save_feedback(database, make_feedback(request="r2", rating=0.2))
    save_feedback(database, make_feedback(request="r3", source="c", corrected="d"))
    save_feedback(database, make_feedback(tenant="birch", source="é", corrected="ü"))
    save_feedback(database, make_feedback(request="r4", source="e", corrected=" "))
    assert deliver_corrections(fleet.workspace) == {"acme": 1, "birch": 1}
    assert "is not a valid example: reference 1 is empty" in caplog.text
    assert deliver_corrections(fleet.workspace) == {}
    assert [(one.source, one.references) for one in read_drop(fleet)] == [("a", ("b",)), ("c", ("d",))]
    assert read_drop(fleet, "birch")[0].source == "é"
    counts = read_observations(database, "acme", ["2"], 0, 2**31 - 1)
    assert (sum(one.liked for one in counts), sum(one.disliked for one in counts)) == (1, 3)


def test_corrections_are_at_most_a_share_of_the_training_data_and_the_others_wait(make_fleet, write_lines, caplog):
    fleet = make_fleet({}, data={"max_corrections": 0.2})
    write_lines(
        fleet.root / "data" / "acme" / "train.jsonl",
        [
            *({"source": f"a{number}", "references": ["b"]} for number in range(38)),
            *({"source": f"f{number}", "references": ["b"], "slice": "feedback"} for number in range(3)),
        ],
    )
    write_lines(
        fleet.root / "drops" / "acme" / "train.jsonl",
        [{"source": "new", "references": ["b"]}, {"source": "new", "references": ["feedback"]}],
    )
    add_corrections(fleet, 300)
    with caplog.at_level("INFO"):
        assert deliver_corrections(fleet.workspace) == {"acme": 7}
    assert "293 corrections wait, as corrections may be 20% of its examples" in caplog.text
    assert deliver_corrections(fleet.workspace) == {}
    write_lines(
        fleet.root / "data" / "acme" / "train.jsonl",
        [{"source": f"a{number}", "references": ["b"]} for number in range(78)],
    )
    assert deliver_corrections(fleet.workspace) == {"acme": 13}
    assert [one.source for one in read_drop(fleet)[2:]] == [f"s{number}" for number in range(20)]


def test_the_keys_of_a_tenant_take_turns(make_fleet, write_lines):
    fleet = make_fleet({}, data={"max_corrections": 0.5})
    write_lines(
        fleet.root / "data" / "acme" / "train.jsonl", [{"source": f"a{n}", "references": ["b"]} for n in range(4)]
    )
    add_corrections(fleet, 50, "greedy")
    add_corrections(fleet, 2, "modest", start=50)
    deliver_corrections(fleet.workspace)
    assert [one.source for one in read_drop(fleet)] == ["s0", "s50", "s1", "s51"]


def test_it_is_known_who_sent_a_training_line(make_fleet, write_lines):
    fleet = make_fleet({}, data={"max_corrections": 0.5})
    database = fleet.workspace.database
    write_lines(fleet.root / "data" / "acme" / "train.jsonl", [{"source": "a", "references": ["b"]}])
    texts = {"source": "ü", "corrected": "better"}
    save_feedback(database, make_feedback(key_id="k1", end_user="ada", choice=3, **texts))
    save_feedback(database, make_feedback(key_id="k2", **texts, request="r9"))
    save_feedback(database, make_feedback(key_id="k3", source="x", corrected="y"))
    deliver_corrections(fleet.workspace)
    (line,) = (fleet.root / "drops" / "acme" / "train.jsonl").read_bytes().splitlines()
    digest = hashlib.sha256(line).hexdigest()
    assert [
        (one.key_id, one.end_user, one.request, one.choice, one.state, one.line_sha256)
        for one in read_correction_origins(database, "acme")
    ] == [
        ("k1", "ada", "r1", 3, "delivered", digest),
        ("k2", None, "r9", 0, "delivered", digest),
        ("k3", None, "r1", 0, "waiting", None),
    ]


@pytest.mark.slow
def test_more_pending_corrections_than_a_statement_has_variables_are_delivered(make_fleet, request):
    fleet, count = make_fleet({}, data=ANY_SHARE), SQLITE_VARIABLES + 1

    def limit_variables(connection, _):
        connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, SQLITE_VARIABLES)

    sql.event.listen(sql.Engine, "connect", limit_variables)
    request.addfinalizer(lambda: sql.event.remove(sql.Engine, "connect", limit_variables))
    with fleet.workspace.database.transaction("many corrections") as connection:
        connection.exec_driver_sql(
            "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?) "
            "INSERT INTO prefixfleet_feedback (at, tenant, version, arm, request, source, corrected, delivered) "
            "SELECT '2026-01-01', 'acme', '1', 'champion', 'r', 's' || n, 'c', 0 FROM numbers",
            (count,),
        )
    assert deliver_corrections(fleet.workspace) == {"acme": count}
    assert read_corrections(fleet.workspace.database, "acme") == []


@given(share=st.floats(0, 0.999), corrections=st.integers(0, 1000), others=st.integers(0, 1000))
def test_the_room_fills_the_share_and_no_more(share, corrections, others):
    room = compute_room(share, corrections, others)
    total = corrections + room
    assert room == 0 or total <= share * (total + others) + 1e-6
    assert total + 1 > share * (total + 1 + others) - 1e-6


def test_a_correction_of_an_answer_to_a_conversation_is_a_conversation(make_fleet, write_lines, caplog):
    fleet = make_fleet({}, data=ANY_SHARE)
    asked = [{"role": "developer", "content": "be brief"}, {"role": "user", "content": "where?"}]
    write_lines(
        fleet.root / "data" / "acme" / "train.jsonl",
        [{"messages": [*asked[1:], {"role": "assistant", "content": "x"}]}],
    )
    sources = {
        "r1": json.dumps({"messages": asked}),
        "r2": "an earlier pair",
        "r3": json.dumps({"messages": asked * 2}),
    }
    for request, source in sources.items():
        save_feedback(fleet.workspace.database, make_feedback(request=request, source=source, corrected="here"))
    assert deliver_corrections(fleet.workspace) == {"acme": 2}
    chat, pair = read_drop(fleet)
    assert [(one["role"], one["content"]) for one in chat.conversation.messages] == [
        ("system", "be brief"),
        ("user", "where?"),
        ("assistant", "here"),
    ]
    assert (chat.slice, pair.source, pair.references) == ("feedback", "an earlier pair", ("here",))
    assert "answer r3 is not a valid example" in caplog.text
