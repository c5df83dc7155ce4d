"""A fleet moves to another base in waves: each tenant judged against its champion, the others served as before."""

import shutil

import httpx
import pytest
from next_bases import add_next_base
from stage_chain import run_chain

from components.errors import ConfigError
from components.registry.mlflow.versions import CHAMPION
from components.rollout.store.causes import read_causes_of_kind
from components.rollout.store.ledger import read_history
from components.rollout.store.observations import write_counts
from components.rollout.types import Observation
from components.stages.base import read_base_facts
from components.stages.evaluation_scoring import PREDICTIONS_FILE
from components.stages.migration import waves
from components.stages.migration.finish import finish_migration
from components.stages.migration.waves import run_wave
from components.stages.next_base_view import NextBaseView, find_moved_tenants
from components.stages.plan import plan
from components.stages.reports.status import read_status
from components.stages.workspace import Workspace

pytestmark = pytest.mark.slow
TENANTS = ("alder", "birch", "cedar")
NEXT = {"path": "next", "tenants_per_wave": 1}
LAX = {"floors": {}, "non_inferiority": [{"metric": "bleu", "margin": 100.0, "confidence": 0.95}]}


@pytest.fixture(scope="module")
def served(make_root_in, tmp_path_factory):
    """Three tenants with champions on the base, and another base beside it; birch has most traffic."""
    made = make_root_in(tmp_path_factory.mktemp("served"), TENANTS, gate=LAX, registry={"owner": "test-fleet"})
    run_chain(made)
    add_next_base(made)
    observed = {"version": "1", "arm": "champion", "minute": 100, "requests": 9}
    write_counts(Workspace(made).database, [Observation(tenant="birch", **observed)])
    return made


@pytest.fixture
def root(served, tmp_path, set_params):
    shutil.copytree(served, tmp_path / "workspace")
    use(tmp_path / "workspace", set_params, next_base=NEXT)
    return tmp_path / "workspace"


def use(root, set_params, **sections):
    set_params(root, gate=LAX, registry={"owner": "test-fleet"}, **sections)


def find_champions(root):
    return Workspace(root).registry.poll_aliased(CHAMPION)[CHAMPION]


def test_the_fleet_moves_tenant_by_tenant_and_ends_on_the_next_base(root, set_params, monkeypatch):
    present = read_base_facts(Workspace(root))["digest"]
    first = run_wave(Workspace(root), now_s=lambda: 7200.0)
    assert (first.switched, first.left) == ({"birch": "2"}, 2)
    assert first.reasons.keys() == first.spans.keys() == {"birch"}
    assert first.spans["birch"].began_s < first.spans["birch"].ended_s
    view = NextBaseView(Workspace(root))
    next_digest = read_base_facts(view)["digest"]
    assert {tenant: one.tags["base_digest"] for tenant, one in find_champions(root).items()} == {
        "alder": present,
        "birch": next_digest,
        "cedar": present,
    }
    assert find_moved_tenants(Workspace(root)) == {"birch"}
    line = read_history(Workspace(root).database, "birch")[-1]
    assert (line.by, line.action, line.from_version, line.to_version) == ("migrate", "promote", "1", "2")
    scored = view.get_output_folder("evaluate", "birch") / "champion" / PREDICTIONS_FILE
    assert scored.read_bytes() == (root / "out/evaluate/birch" / PREDICTIONS_FILE).read_bytes()
    assert {row.tenant: row.state for row in read_status(Workspace(root)).tenants} == dict.fromkeys(TENANTS, "healthy")

    with monkeypatch.context() as patch:  # killed in the middle of a wave

        def stop(*_):
            raise KeyboardInterrupt

        patch.setattr(waves.gate, "try_judge_tenant", stop)
        with pytest.raises(KeyboardInterrupt):
            run_wave(Workspace(root))
    trained = (root / "var/next-base/train/alder/prefix.safetensors").read_bytes()
    assert run_wave(Workspace(root)).switched == {"alder": "2"}
    assert (root / "var/next-base/train/alder/prefix.safetensors").read_bytes() == trained

    assert [one.tenant for one in plan(Workspace(root)).leave_out(find_moved_tenants(Workspace(root))).skipped] == [
        "cedar"
    ]
    with pytest.raises(ConfigError, match=r"1 tenants have not moved \(cedar\)"):
        finish_migration(Workspace(root))
    assert run_wave(Workspace(root)).switched == {"cedar": "2"}
    last = run_wave(Workspace(root))
    assert (last.switched, last.outcomes, last.left) == ({}, [], 0)

    use(root, set_params, base={"path": "next"})
    assert finish_migration(Workspace(root)) == list(TENANTS)
    assert not (root / "var/next-base").exists()
    assert plan(Workspace(root)).items == ()
    assert {row.state for row in read_status(Workspace(root)).tenants} == {"healthy"}


def test_two_servers_answer_each_for_the_tenants_on_its_base(root, start_server):
    assert run_wave(Workspace(root), now_s=lambda: 7200.0).switched == {"birch": "2"}
    servers = {"alder": start_server(root), "birch": start_server(root, "--next-base")}
    digests = {"alder": read_base_facts(Workspace(root)), "birch": read_base_facts(NextBaseView(Workspace(root)))}
    for own, server in servers.items():
        server.wait_ready()
        for tenant in ("alder", "birch"):
            body = {"model": tenant, "prompt": "thing: boat", "max_tokens": 2}
            answer = httpx.post(f"{server.url}/v1/completions", json=body, timeout=60)
            if tenant == own:
                assert (answer.status_code, answer.headers["x-prefixfleet-base"]) == (200, digests[own]["digest"])
            else:
                assert (answer.status_code, answer.json()["error"]["code"]) == (503, "other_base")
        assert httpx.get(f"{server.url}/healthz").json()["troubles"] == []


def test_a_tenant_whose_new_prefix_is_worse_stays_and_is_not_tried_again_until_its_data_change(
    root, set_params, write_tenant
):
    strict = {"birch": {"gate": {"floors": {"bleu": 101.0}}}}
    use(root, set_params, next_base={**NEXT, "tenants_per_wave": 3}, tenants=strict)
    result = run_wave(Workspace(root))
    assert sorted(result.switched) == ["alder", "cedar"]
    assert list(result.rejected) == ["birch"]
    assert find_champions(root)["birch"].version == "1"
    causes = {one.tenant: one for one in read_causes_of_kind(Workspace(root).database, "base")}
    assert "BLEU" in causes["birch"].result
    again = run_wave(Workspace(root))
    assert (again.outcomes, again.before.endswith("2 moved, 1 refused")) == ([], True)

    write_tenant(root / "data", "alder", start=300)  # moved, and new data
    write_tenant(root / "data", "birch", start=300)  # not moved: its champion has no score on the new data yet
    moved = run_wave(Workspace(root), moves=False)
    assert (moved.switched, "1 wait for `retrain`" in moved.before) == ({"alder": "3"}, True)
    assert read_history(Workspace(root).database, "alder")[-1].by == "retrain"


def test_without_a_next_base_there_is_no_wave(make_root):
    root = make_root(("alder",))
    assert find_moved_tenants(Workspace(root)) == set()
    with pytest.raises(ConfigError, match="next_base"):
        run_wave(Workspace(root))
