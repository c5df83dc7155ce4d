"""Callers' corrections become drops, once, behind what waits there."""

import pytest
from observations import read_observations

from components.data.schema import read_split
from components.errors import DataError
from components.rollout.store.feedback import Feedback, save_feedback
from components.stages.rollout.corrections import deliver_corrections


def said(**changes):
    return Feedback(**{"tenant": "acme", "version": "2", "arm": "challenger", "request": "r1", **changes})


def test_corrections_are_delivered_once_and_counted(make_fleet, write_lines, caplog):
    fleet = make_fleet({})
    database = fleet.workspace.database
    path = fleet.root / "drops" / "acme" / "train.jsonl"
    write_lines(path, [{"source": "a", "references": ["b"]}])
    path.write_bytes(path.read_bytes().removesuffix(b"\n"))
    save_feedback(database, said(rating=1.0))
    save_feedback(database, said(rating=0.2))
    save_feedback(database, said(source="c", corrected="d"))
    save_feedback(database, said(tenant="birch", source="é", corrected="ü"))
    save_feedback(database, said(source="e", corrected=" "))
    assert deliver_corrections(fleet.workspace) == {"acme": 1, "birch": 1}
    assert "is not a valid example: reference 1 is empty" in caplog.text
    assert deliver_corrections(fleet.workspace) == {}
    limits = fleet.workspace.params.data
    assert [(one.source, one.references) for one in read_split(path, limits)] == [("a", ("b",)), ("c", ("d",))]
    assert read_split(path.parents[1] / "birch" / "train.jsonl", limits)[0].source == "é"
    seen = read_observations(database, "acme", ["2"], 0, 2**31 - 1)
    assert (sum(one.liked for one in seen), sum(one.disliked for one in seen)) == (1, 3)


@pytest.mark.parametrize("text", ["half \ud800", "nul \0"])
def test_text_that_no_database_holds_is_refused(make_fleet, text):
    fleet = make_fleet({})
    with pytest.raises(DataError, match="whole characters"):
        save_feedback(fleet.workspace.database, said(corrected=text))
