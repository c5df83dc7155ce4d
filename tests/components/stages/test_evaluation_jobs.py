"""One tenant's evaluation jobs: errors of one tenant, prefixes that were not planned, champions, and memory."""

import shutil

import torch
from evaluated_tenants import make_champion, read_written, run_evaluation
from transformers import GPT2Config, GPT2LMHeadModel

from components.registry.mlflow.versions import Version
from components.stages import evaluate, train
from components.stages.plan import plan
from components.stages.stamps import read_json
from components.stages.workspace import Workspace


def test_an_error_of_one_tenant_stops_no_other_tenant(trained, write_lines, examples_of, caplog):
    root = trained(("alder", "birch", "cedar", "elder"))
    assert run_evaluation(root, ["alder"])["alder"].state == "done"
    alone = read_written(root, "alder")
    shutil.rmtree(root / "out/evaluate")
    long = [{**examples_of("birch", 1)[0], "source": "far too long " * 20}]
    write_lines(root / "data/birch/test.jsonl", [*examples_of("birch", 3, start=40), *long])
    train.run(Workspace(root))
    workspace = Workspace(root)
    fingerprints = plan(workspace).collect_fingerprints()
    (root / "data/cedar/test.jsonl").unlink()
    prefix = root / "out/train/elder/prefix.safetensors"
    prefix.write_bytes(prefix.read_bytes()[:-1])
    champions = {"alder": Version("alder", "9", sha256="0" * 64)}
    outcomes = {one.tenant: one for one in evaluate.evaluate_shard(workspace, fingerprints, champions)}
    assert {one.state for one in outcomes.values()} == {"failed"}
    assert "the prefix of alder, version 9" in outcomes["alder"].detail
    assert "in source 4, prefix included" in outcomes["birch"].detail
    assert "cedar" in outcomes["cedar"].detail
    assert "test.jsonl" in outcomes["cedar"].detail
    assert "elder" in outcomes["elder"].detail
    messages = [record.getMessage() for record in caplog.records if "not evaluated" in record.getMessage()]
    assert sorted(text.partition(":")[0] for text in messages) == ["alder", "birch", "cedar", "elder"], "once each"
    assert read_written(root, "alder") == alone, "results before the error are kept"
    assert run_evaluation(root, ["alder"])["alder"].state == "skipped"


def test_a_prefix_data_or_a_base_that_was_not_planned_is_refused_by_name(trained, write_tenant):
    root = trained(("alder", "birch"))
    planned = plan(Workspace(root)).collect_fingerprints()

    def refusals(fingerprints):
        outcomes = evaluate.evaluate_shard(Workspace(root), fingerprints, {})
        return {one.tenant: one.detail for one in outcomes if one.state == "failed"}

    swapped = refusals({"alder": planned["birch"], "birch": planned["birch"]})
    wanted = "wanted alder's prefix for its present data, parameters and base; got "
    assert list(swapped) == ["alder"]
    assert swapped["alder"].startswith(f"{wanted}fingerprint {planned['alder'][:12]}, not {planned['birch'][:12]} as")
    write_tenant(root / "data", "alder", start=5)
    assert refusals(planned)["alder"].startswith(f"{wanted}data changed;")
    torch.manual_seed(1)
    GPT2LMHeadModel(GPT2Config.from_pretrained(root / "base")).save_pretrained(root / "base")
    assert refusals(planned)["alder"].startswith(f"{wanted}base changed;")
    shutil.rmtree(root / "out/train/alder")
    assert refusals(planned)["alder"].startswith(f"{wanted}no prefix yet;")


def test_a_champion_that_cannot_be_compared_is_left_out(trained, tmp_path, caplog):
    root = trained(("alder", "birch"))
    champion = make_champion(root, "birch", tmp_path)
    assert run_evaluation(root, champions={"birch": champion})["birch"].state == "done"
    assert read_json(root / "out/evaluate/birch/champion/version.json") == {"version": "7"}
    before = read_written(root, "alder")
    torch.manual_seed(1)
    GPT2LMHeadModel(GPT2Config.from_pretrained(root / "base")).save_pretrained(root / "base")
    train.run(Workspace(root))
    with caplog.at_level("WARNING", logger="prefixfleet"):
        outcomes = run_evaluation(root, champions={"birch": champion})
    assert {one.state for one in outcomes.values()} == {"done"}
    assert "birch: champion version 7 has another base and is not compared" in caplog.text
    assert not (root / "out/evaluate/birch/champion").exists()
    assert read_written(root, "alder") != before


def test_examples_are_in_memory_only_while_they_are_decoded(trained, monkeypatch):
    """Otherwise the memory would grow with the fleet."""
    root = trained(("alder", "birch", "elder"), rows=1)
    tenants, held = [], []

    class WatchedEvaluation(evaluate.TenantEvaluation):
        def __init__(self, *args):
            super().__init__(*args)
            tenants.append(self)

        def finish_job(self, job):
            held.append(sum(bool(one.examples or one.predictions) for tenant in tenants for one in tenant.jobs))
            super().finish_job(job)

    monkeypatch.setattr(evaluate, "TenantEvaluation", WatchedEvaluation)
    assert {one.state for one in run_evaluation(root).values()} == {"done"}
    assert len(held) == 6
    assert max(held) < 4, "the job that is done, and those in a window of four rows"
    assert not any(one.examples or one.predictions for tenant in tenants for one in tenant.jobs)
