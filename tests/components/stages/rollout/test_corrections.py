"""Callers' corrections are added to drops, once, after the lines that are there."""

from observations import read_observations

from components.data.schema import read_split
from components.rollout.store.feedback import Feedback, save_feedback
from components.stages.rollout.corrections import deliver_corrections


def make_feedback(**changes):
    return Feedback(**{"tenant": "acme", "version": "2", "arm": "challenger", "request": "r1", **changes})


def test_corrections_are_delivered_once_and_counted(make_fleet, write_lines, caplog):
    fleet = make_fleet({})
    database = fleet.workspace.database
    path = fleet.root / "drops" / "acme" / "train.jsonl"
    write_lines(path, [{"source": "a", "references": ["b"]}])
    path.write_bytes(path.read_bytes().removesuffix(b"\n"))
    save_feedback(database, make_feedback(rating=1.0))
    save_feedback(database, make_feedback(rating=0.2))
    save_feedback(database, make_feedback(source="c", corrected="d"))
    save_feedback(database, make_feedback(tenant="birch", source="é", corrected="ü"))
    save_feedback(database, make_feedback(source="e", corrected=" "))
    assert deliver_corrections(fleet.workspace) == {"acme": 1, "birch": 1}
    assert "is not a valid example: reference 1 is empty" in caplog.text
    assert deliver_corrections(fleet.workspace) == {}
    limits = fleet.workspace.params.data
    assert [(one.source, one.references) for one in read_split(path, limits)] == [("a", ("b",)), ("c", ("d",))]
    assert read_split(path.parents[1] / "birch" / "train.jsonl", limits)[0].source == "é"
    counts = read_observations(database, "acme", ["2"], 0, 2**31 - 1)
    assert (sum(one.liked for one in counts), sum(one.disliked for one in counts)) == (1, 3)
