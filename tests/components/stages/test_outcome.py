"""Outcomes: the failure of one tenant stops no other tenant, and an error names the first of many."""

import pytest
from stage_chain import get_states, run_chain

from components.stages.outcome import TenantOutcome, TenantsFailedError, raise_on_failures


def test_a_tenant_that_fails_stops_no_other_tenant(make_root, write_lines):
    root = make_root(("alder", "birch", "cedar"), tenants={"birch": {"train": {"learning_rate": 1e30}}})
    write_lines(root / "data/cedar/test.jsonl", [])
    outcomes, promoted = run_chain(root)
    assert get_states(outcomes, "train") == {"alder": "done", "birch": "failed", "cedar": "failed"}
    assert get_states(outcomes, "gate") == {"alder": "done", "birch": "failed", "cedar": "failed"}
    assert promoted == {"alder": "1"}
    assert not (root / "out/train/birch/prefix.safetensors").exists()
    details = {one.tenant: one.detail for one in outcomes if one.stage == "train"}
    assert "finite" in details["birch"]
    assert "at least one example" in details["cedar"]
    assert "cedar/test.jsonl" in details["cedar"]
    with pytest.raises(TenantsFailedError, match="birch"):
        raise_on_failures(outcomes)


def test_an_error_names_the_first_of_many_tenants():
    tenants = [f"t{number}" for number in range(2000)]
    with pytest.raises(TenantsFailedError, match=r"2000 failed \(t0: broken; .*t9: broken; and 1,990 more\)"):
        raise_on_failures(TenantOutcome(tenant, "train", "failed", "broken") for tenant in tenants)
