"""The status of tenants: counts, champion, verdict, and why a champion is stale."""

import pytest

from components.errors import DataError
from components.stages import evaluate, gate, register, train
from components.stages.plan import plan
from components.stages.reports.status import read_status
from components.stages.workspace import Workspace


def test_a_tenant_has_no_champion_then_one_then_a_stale_one(make_root, set_params, write_tenant):
    root = make_root(("alder", "birch"))
    (row,) = read_status(Workspace(root), ["alder"])
    assert (row.examples, row.champion, row.bleu, row.verdict, row.stale) == ((12, 4, 6), "-", "-", "-", "no champion")

    for stage in (train, evaluate, gate):
        stage.run(Workspace(root))
    workspace = Workspace(root)
    versions, _ = register.register(workspace, plan(workspace).collect_fingerprints(["alder"]))
    register.roll_out(workspace, versions, [])
    alder, birch = read_status(Workspace(root))
    assert (alder.champion, alder.stale) == ("1", "")
    assert float(alder.bleu) >= 0
    assert alder.verdict.startswith("Accepted")
    assert (birch.champion, birch.stale) == ("-", "no champion")

    write_tenant(root / "data", "alder", start=5)
    (row,) = read_status(Workspace(root), ["alder"])
    assert (row.champion, row.stale) == ("1", "data changed")
    assert row.data_digest != alder.data_digest

    train.run(Workspace(root), ["alder"])
    assert read_status(Workspace(root), ["alder"])[0].stale == "a newer prefix is in out/"

    set_params(root, train={"seed": 3})
    assert read_status(Workspace(root), ["alder"])[0].stale == "train.seed changed"


def test_a_tenant_without_data_is_refused(make_root):
    with pytest.raises(DataError, match="'cedar'"):
        read_status(Workspace(make_root(("alder",))), ["cedar"])
