"""train -> evaluate -> gate -> register, as functions, on a tiny base and MLflow on sqlite."""

import json
import shutil

import pytest

from components.errors import RegistryError
from components.stages import evaluate, gate, register, train
from components.stages.outcome import TenantsFailedError, raise_on_failures
from components.stages.plan import plan
from components.stages.reports import charts, results_table, status
from components.stages.rollout import manual
from components.stages.stamps import read_csv, read_json
from components.stages.workspace import Workspace

PAIR = ("alder", "birch")


def chain(root, tenants=None):
    """Each stage as a process of its own would see the workspace; returns the outcomes and who became champion."""
    outcomes = []
    outdated = [item.tenant for item in plan(Workspace(root), tenants).items if item.outdated]
    for stage in (train, evaluate, gate):
        outcomes += stage.run(Workspace(root), tenants)
    place = Workspace(root)
    passed = [one.tenant for one in outcomes if one.stage == "gate" and one.state != "failed"]
    versions, troubles = register.register(place, plan(place, tenants).collect_fingerprints(passed))
    promoted, others = register.roll_out(place, versions, outdated)
    return outcomes + troubles + others, promoted


def states(outcomes, stage):
    return {one.tenant: one.state for one in outcomes if one.stage == stage}


def shas(root):
    return {tenant: read_json(root / "out/train" / tenant / "manifest.json")["sha256"] for tenant in PAIR}


def test_the_whole_chain_then_nothing_then_one_tenant(make_root, write_tenant):
    root = make_root(PAIR)
    outcomes, promoted = chain(root)
    assert {one.state for one in outcomes} == {"done"}
    assert promoted == {"alder": "1", "birch": "1"}
    assert {row["tenant"] for row in read_csv(root / "out/train/loss.csv")} == set(PAIR)
    assert {row["subject"] for row in read_csv(root / "out/evaluate/bleu.csv")} == {"base", "prefix"}
    assert read_json(root / "out/evaluate/metrics.json")["alder"].keys() == {"bleu", "rougeL", "base"}
    first = shas(root)

    outcomes, promoted = chain(root)
    assert {one.state for one in outcomes} == {"skipped"}
    assert promoted == {}

    write_tenant(root / "data", "birch", start=5)
    assert plan(Workspace(root)).sentence == "1 to train, 1 up to date: birch (data changed)"
    outcomes, promoted = chain(root)
    assert states(outcomes, "train") == {"alder": "skipped", "birch": "done"}
    assert promoted == {"birch": "2"}
    assert shas(root)["alder"] == first["alder"]
    assert shas(root)["birch"] != first["birch"]
    # It was measured against the champion that it then replaced.
    verdict = read_json(root / "out/gate/birch/verdict.json")
    assert (verdict["champion_version"], verdict["champion_digest"]) == ("1", first["birch"])
    assert {check["slice"] for check in verdict["checks"]} == {"all", "seen", "unseen"}

    rows = results_table.read_results(Workspace(root))
    assert [(row.tenant, row.version, row.alias) for row in rows] == [
        ("alder", "1", "champion"),
        ("birch", "2", "champion"),
    ]
    assert results_table.to_markdown(rows).count("\n") == 4
    assert [path.stat().st_size > 1000 for path in charts.draw_charts(Workspace(root))] == [True, True]
    assert [(row.champion, row.stale) for row in status.read_status(Workspace(root))] == [("1", ""), ("2", "")]

    # Now champion itself, it keeps what it was measured against, and a run with nothing new leaves the verdict alone.
    outcomes, promoted = chain(root)
    assert {one.state for one in outcomes} == {"skipped"}
    assert read_json(root / "out/gate/birch/verdict.json") == verdict


def test_a_tenant_that_fails_stops_nobody_else(make_root, write_lines):
    root = make_root(("alder", "birch", "cedar"), tenants={"birch": {"train": {"learning_rate": 1e30}}})
    write_lines(root / "data/cedar/test.jsonl", [])
    outcomes, promoted = chain(root)
    assert states(outcomes, "train") == {"alder": "done", "birch": "failed", "cedar": "failed"}
    assert states(outcomes, "gate") == {"alder": "done", "birch": "failed", "cedar": "failed"}
    assert promoted == {"alder": "1"}
    assert not (root / "out/train/birch/prefix.safetensors").exists()
    details = {one.tenant: one.detail for one in outcomes if one.stage == "train"}
    assert "finite" in details["birch"]
    assert "at least one example" in details["cedar"]
    assert "cedar/test.jsonl" in details["cedar"]
    with pytest.raises(TenantsFailedError, match="birch"):
        raise_on_failures(outcomes)


def test_a_rejected_prefix_leaves_the_champion_untouched(make_root, set_params):
    root = make_root(PAIR)
    chain(root)
    set_params(root, train={"seed": 1}, gate={"floors": {"bleu": 99.0}})
    outcomes, promoted = chain(root)
    assert states(outcomes, "train") == {"alder": "done", "birch": "done"}
    assert promoted == {}
    place = Workspace(root)
    register.record_rejected(place, plan(place).collect_fingerprints())
    assert {tenant: version.version for tenant, version in place.registry.find_champions().items()} == {
        "alder": "1",
        "birch": "1",
    }
    assert [row.verdict for row in results_table.read_results(place)] == ["rejected", "rejected"]
    assert "train.seed changed" not in plan(place).sentence
    assert status.read_status(place, ["alder"])[0].stale == "a newer prefix is in out/"


def test_a_champion_moved_by_hand_stays_where_it_was_moved_to(make_root, set_params):
    root = make_root(("alder",))
    chain(root)
    set_params(root, train={"seed": 1, "initialization": "random"})
    assert chain(root)[1] == {"alder": "2"}
    assert manual.roll_back(Workspace(root), "alder") == ("2", "1")
    outcomes, promoted = chain(root)
    assert states(outcomes, "gate") == {"alder": "skipped"}  # against version 1, as when version 2 was new
    assert promoted == {}
    assert Workspace(root).registry.find_champion("alder").version == "1"
    with pytest.raises(RegistryError, match="before version 1"):
        manual.roll_back(Workspace(root), "alder")
    with pytest.raises(RegistryError, match="versions: 2, 1"):
        manual.promote(Workspace(root), "alder", "7")
    assert manual.promote(Workspace(root), "alder").version == "2"
    # Back to the parameters of version 1: trained again, the same prefix, and this time on purpose.
    set_params(root)
    assert chain(root)[1] == {"alder": "1"}


def test_what_is_damaged_is_made_again_and_what_has_left_is_removed(make_root):
    root = make_root(("alder", "birch", "cedar"))
    chain(root)
    prefix = root / "out/train/alder/prefix.safetensors"
    prefix.write_bytes(prefix.read_bytes()[:-1])
    (root / "out/train/birch/manifest.json").write_text("{")
    (root / "out/evaluate/birch/predictions.jsonl").write_text("")
    shutil.rmtree(root / "data/cedar")
    outcomes, promoted = chain(root)
    assert states(outcomes, "train") == {"alder": "done", "birch": "done"}
    assert states(outcomes, "evaluate") == {"alder": "skipped", "birch": "done"}
    assert promoted == {}
    for stage in ("train", "evaluate", "gate"):
        assert sorted(path.name for path in (root / "out" / stage).glob("*/")) == ["alder", "birch"]
    assert set(json.loads((root / "out/gate/verdicts.json").read_text())) == {"alder", "birch"}


def test_an_interrupted_training_is_resumed_and_says_so(make_root, monkeypatch, caplog):
    root = make_root(("alder",), train={"max_steps": 6, "validate_every": 2})
    chain(root)
    whole = (root / "out/train/alder/prefix.safetensors").read_bytes()
    shutil.rmtree(root / "out/train/alder")

    def stop(progress):
        if progress.done == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train, "report_progress", stop)
        with pytest.raises(KeyboardInterrupt):
            train.run(Workspace(root))
    assert train.find_resumable(Workspace(root)) == {"alder": 4}
    with caplog.at_level("INFO", logger="prefixfleet"):
        train.run(Workspace(root))
    assert "resumes at step 4" in caplog.text
    assert (root / "out/train/alder/prefix.safetensors").read_bytes() == whole
    assert train.find_resumable(Workspace(root)) == {}
