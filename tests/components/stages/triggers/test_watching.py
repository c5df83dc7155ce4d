"""One look: what has arrived, which causes a run may begin for, and whether another run is at work."""

from components.stages.triggers.run_causes import begin_run
from components.stages.triggers.watching import look
from components.stages.workspace import Workspace


def test_a_look_opens_causes_that_wait_while_another_run_works(make_root, write_tenant):
    root = make_root(("alder",), triggers={"arrival": {"quiet_seconds": 10.0}})
    assert look(Workspace(root), lambda: 0.0).sentence == "0 new causes"
    write_tenant(root / "drops", "alder")
    assert look(Workspace(root), lambda: 0.0).sentence == "0 new causes; still arriving: alder"
    with Workspace(root).lock():
        found = look(Workspace(root), lambda: 10.0)
    assert (len(found.opened), found.due) == (1, [])
    assert found.sentence.startswith("1 new causes; causes wait: another run (process ")
    found = look(Workspace(root), lambda: 11.0)
    assert (found.opened, [one.tenant for one in found.due]) == ([], ["alder"])
    assert found.sentence == "0 new causes; retraining alder"


def test_a_run_that_was_stopped_twice_is_tried_again_after_a_pause(make_root, write_tenant):
    root = make_root(("alder",), triggers={"arrival": {"quiet_seconds": 0.0}})
    write_tenant(root / "drops", "alder")
    assert look(Workspace(root), lambda: 0.0).due
    for _ in range(2):
        begin_run(Workspace(root), ["alder"], "arrival", lambda: 0.0)
    assert look(Workspace(root), lambda: 59.0).due == []
    assert look(Workspace(root), lambda: 60.0).due
