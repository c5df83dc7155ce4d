"""The demo's drops, and the tenants that it retrains."""

import pytest

from components.builtin.tenants import SPLIT_SIZES
from components.stages.commands.demo import choose_demo_tenants, write_builtin_drops
from components.stages.workspace import Workspace


def test_the_built_in_tenants_get_a_drop_with_all_splits(make_root):
    workspace = Workspace(make_root(()))
    tenants = write_builtin_drops(workspace)
    assert len(tenants) == 4
    for tenant in tenants:
        files = {path.stem: path.read_bytes().count(b"\n") for path in (workspace.drops / tenant).iterdir()}
        assert files == SPLIT_SIZES


@pytest.mark.parametrize(("others", "chosen"), [((), None), (("zebra",), ["alder", "birch"])])
def test_tenants_of_the_users_own_are_not_retrained_by_the_demo(make_root, others, chosen):
    workspace = Workspace(make_root(("alder", "birch", *others)))
    assert choose_demo_tenants(workspace, ["birch", "alder"]) == (chosen and ["birch", "alder"])
