"""All stages up to registration: new champions, a run with nothing to do, aliases moved by hand, damaged files."""

import json
import shutil

import pytest
from stage_chain import get_states, run_chain

from components.errors import RegistryError
from components.stages.plan import plan
from components.stages.reports import charts, results_table, status
from components.stages.rollout import manual
from components.stages.stamps import read_csv, read_json
from components.stages.workspace import Workspace

PAIR = ("alder", "birch")


def shas(root):
    return {tenant: read_json(root / "out/train" / tenant / "manifest.json")["sha256"] for tenant in PAIR}


def test_the_whole_chain_then_nothing_then_one_tenant(make_root, write_tenant):
    root = make_root(PAIR)
    outcomes, promoted = run_chain(root)
    assert {one.state for one in outcomes} == {"done"}
    assert promoted == {"alder": "1", "birch": "1"}
    assert {row["tenant"] for row in read_csv(root / "out/train/loss.csv")} == set(PAIR)
    assert {row["subject"] for row in read_csv(root / "out/evaluate/bleu.csv")} == {"base", "prefix"}
    assert read_json(root / "out/evaluate/_metrics/alder.json").keys() == {"bleu", "rougeL", "base"}
    first = shas(root)

    # Judged anew with another decoding, the champion is served with that; nothing is registered.
    registry = Workspace(root).registry
    decoding = json.loads(registry.find_champions()["alder"].tags["decoding"])
    assert decoding == Workspace(root).params.for_tenant("alder").evaluate.select_decoding()
    registry.set_tags(registry.find_champions()["alder"], {"decoding": json.dumps({**decoding, "num_beams": 7})})
    outcomes, promoted = run_chain(root)
    assert {one.state for one in outcomes} == {"skipped"}
    assert promoted == {}
    assert json.loads(registry.find_champions()["alder"].tags["decoding"]) == decoding

    write_tenant(root / "data", "birch", start=5)
    assert plan(Workspace(root)).sentence == "1 to train, 1 up to date: birch (data changed)"
    outcomes, promoted = run_chain(root)
    assert get_states(outcomes, "train") == {"alder": "skipped", "birch": "done"}
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
    assert [path.stat().st_size > 1000 for path in charts.draw_charts(Workspace(root))] == [True, True, True]
    assert [(row.champion, row.state) for row in status.read_status(Workspace(root)).tenants] == [
        ("1", "healthy"),
        ("2", "healthy"),
    ]

    # Now champion itself, it keeps what it was measured against, and a run with nothing new leaves the verdict alone.
    outcomes, promoted = run_chain(root)
    assert {one.state for one in outcomes} == {"skipped"}
    assert read_json(root / "out/gate/birch/verdict.json") == verdict


def test_a_champion_moved_by_hand_stays_where_it_was_moved_to(make_root, set_params):
    root = make_root(("alder",))
    run_chain(root)
    set_params(root, train={"seed": 1, "initialization": "random"})
    assert run_chain(root)[1] == {"alder": "2"}
    assert manual.roll_back(Workspace(root), "alder") == ("2", "1")
    outcomes, promoted = run_chain(root)
    assert get_states(outcomes, "gate") == {"alder": "skipped"}  # against version 1, as when version 2 was new
    assert promoted == {}
    assert Workspace(root).registry.find_champion("alder").version == "1"
    with pytest.raises(RegistryError, match="before version 1"):
        manual.roll_back(Workspace(root), "alder")
    with pytest.raises(RegistryError, match="versions: 2, 1"):
        manual.promote(Workspace(root), "alder", "7")
    assert manual.promote(Workspace(root), "alder").version == "2"
    # Back to the parameters of version 1: trained again, the same prefix, and this time on purpose.
    set_params(root)
    assert run_chain(root)[1] == {"alder": "1"}


def test_what_is_damaged_is_made_again_and_what_has_left_is_removed(make_root):
    root = make_root(("alder", "birch", "cedar"))
    run_chain(root)
    prefix = root / "out/train/alder/prefix.safetensors"
    prefix.write_bytes(prefix.read_bytes()[:-1])
    (root / "out/train/birch/manifest.json").write_text("{")
    (root / "out/evaluate/birch/predictions.jsonl").write_text("")
    shutil.rmtree(root / "data/cedar")
    outcomes, promoted = run_chain(root)
    assert get_states(outcomes, "train") == {"alder": "done", "birch": "done"}
    assert get_states(outcomes, "evaluate") == {"alder": "skipped", "birch": "done"}
    assert promoted == {}
    for stage in ("train", "evaluate", "gate"):
        assert sorted(path.name for path in (root / "out" / stage).glob("[a-z]*/")) == ["alder", "birch"]
    assert set(json.loads((root / "out/gate/verdicts.json").read_text())) == {"alder", "birch"}
