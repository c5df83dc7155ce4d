"""The flow prune: what it says with and without the section `retention`."""

import pytest

from components.stages.retention.result import PrunedKind, PrunedTenant, PruneResult
from flows import prune as module
from flows.states import read_result

pytestmark = pytest.mark.usefixtures("prefect_api")


def test_without_the_section_nothing_is_removed_and_with_it_the_result_is_returned(make_root, set_params, monkeypatch):
    pruned = PruneResult([PrunedTenant("alder", ("1",), 0, 10)], [PrunedKind("records of nights", 3, None)])
    monkeypatch.setattr(module, "stage", lambda workspace, by, dry_run: pruned)
    root = make_root(("alder",))
    state = module.prune(str(root), return_state=True)
    assert (read_result(state), "no section retention" in str(state.message)) == (PruneResult(), True)
    set_params(root, retention={"versions": 3})
    state = module.prune(str(root), return_state=True)
    assert read_result(state) == pruned
    assert "1 version and 0 runs without a version of 1 tenant, 3 records of nights: 0.0 MB" in str(state.message)
