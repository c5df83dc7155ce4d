"""The evaluation of a shard: one pass over all tenants' rows that gives each tenant what it gets alone."""

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from plain_paths import DECODING, turn_off
from transformers import GPT2Config, GPT2LMHeadModel

from components.registry.manifest import read_manifest
from components.registry.mlflow.versions import Version
from components.stages import evaluate, train
from components.stages.outcome import TenantOutcome
from components.stages.plan import plan
from components.stages.stamps import read_json
from components.stages.workspace import Workspace

TRAIN: dict[str, dict[str, Any]] = {
    "alder": {"prefix_length": 1},
    "birch": {"prefix_length": 5, "seed": 1},
    "cedar": {"method": "infix", "prefix_length": 3},
    "dogwood": {"method": "lora", "lora_rank": 2},
    "elder": {"method": "embedding"},
    "fir": {"method": "in-context", "demonstrations": 1},
}
DECODINGS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "beams": {"num_beams": 3},
    "sampled": {"temperature": 1.0, "seed": 3},
    "guided": {"guidance": 1.5, "num_beams": 2},
    "controlled": {"min_new_tokens": 3, "repetition_penalty": 1.3, "no_repeat_ngram": 2, "banned": ["q"]},
}


@pytest.fixture
def trained(make_root, monkeypatch):
    """A function of evaluate parameters to a workspace whose tenants, each of another method, are trained."""

    def make(tenants=tuple(TRAIN), rows: int = 4, own=None, **parameters: Any) -> Path:
        overrides = {tenant: {"train": TRAIN[tenant], **(own or {}).get(tenant, {})} for tenant in tenants}
        root = make_root(tenants, evaluate=parameters, tenants=overrides, engine={"decode_rows": rows})
        torch.manual_seed(0)
        config = GPT2Config.from_pretrained(root / "base", initializer_range=0.5, n_positions=224)
        GPT2LMHeadModel(config).save_pretrained(root / "base")
        assert {one.state for one in train.run(Workspace(root))} == {"done"}
        return root

    return make


def champion_of(root: Path, tenant: str, tmp_path: Path) -> Version:
    """Another prefix of the same tenant, lying where a champion's files are kept once fetched."""
    artifact = root / "out/train" / tenant
    kept = tmp_path / "kept"
    shutil.copytree(artifact, kept)
    params = (root / "params.yaml").read_text()
    (root / "params.yaml").write_text(params.replace("max_steps: 4", "max_steps: 3"))
    train.run(Workspace(root), [tenant])
    (root / "params.yaml").write_text(params)
    version = Version(tenant, "7", sha256=read_manifest(artifact).sha256)
    shutil.copytree(artifact, Workspace(root).get_champion_folder(version))
    shutil.rmtree(artifact)
    shutil.move(kept, artifact)
    return version


def run(root: Path, tenants=None, champions=None) -> dict[str, TenantOutcome]:
    place = Workspace(root)
    current = plan(place, tenants)
    fingerprints = dict(sorted(current.collect_fingerprints().items()))
    outcomes = evaluate.evaluate_shard(place, fingerprints, champions or {}, current.reasons)
    assert [one.tenant for one in outcomes] == list(fingerprints)
    return {one.tenant: one for one in outcomes}


def written(root: Path, tenant: str) -> dict[str, bytes]:
    folder = root / "out/evaluate" / tenant
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("decoding", DECODINGS)
def test_a_tenant_gets_what_it_gets_alone(trained, decoding, set_params, tmp_path):
    other = {"elder": {"evaluate": {"max_new_tokens": 5}}}
    root = trained(own=other, **DECODINGS[decoding])
    champions = {"birch": champion_of(root, "birch", tmp_path)}
    outcomes = run(root, champions=champions)
    assert {one.state for one in outcomes.values()} == {"done"}
    together = {tenant: written(root, tenant) for tenant in TRAIN}
    files = {"report.json", "predictions.jsonl", "stamp.json"}
    assert set(together["alder"]) == files | {f"base/{name}" for name in files}
    assert set(together["birch"]) == set(together["alder"]) | {f"champion/{name}" for name in (*files, "version.json")}
    assert len({one["predictions.jsonl"] for one in together.values()}) == len(TRAIN), "or nothing is told apart"
    assert {one.state for one in run(root, champions=champions).values()} == {"skipped"}

    shutil.rmtree(root / "out/evaluate")
    params = (root / "params.yaml").read_text()
    for tenant, rows in zip(TRAIN, (1, 2, 3, 5, 64, 4), strict=True):
        (root / "params.yaml").write_text(params.replace("decode_rows: 4", f"decode_rows: {rows}"))
        assert run(root, [tenant], champions)[tenant].detail == outcomes[tenant].detail
        assert written(root, tenant) == together[tenant]


def test_trouble_of_one_tenant_is_its_own(trained, write_lines, examples_of, caplog):
    root = trained(("alder", "birch", "cedar", "elder"))
    assert run(root, ["alder"])["alder"].state == "done"
    alone = written(root, "alder")
    shutil.rmtree(root / "out/evaluate")
    long = [{**examples_of("birch", 1)[0], "source": "far too long " * 20}]
    write_lines(root / "data/birch/test.jsonl", [*examples_of("birch", 3), *long])
    train.run(Workspace(root))
    place = Workspace(root)
    fingerprints = plan(place).collect_fingerprints()
    (root / "data/cedar/test.jsonl").unlink()
    prefix = root / "out/train/elder/prefix.safetensors"
    prefix.write_bytes(prefix.read_bytes()[:-1])
    champions = {"alder": Version("alder", "9", sha256="0" * 64)}
    outcomes = {one.tenant: one for one in evaluate.evaluate_shard(place, fingerprints, champions)}
    assert {one.state for one in outcomes.values()} == {"failed"}
    assert "the prefix of alder, version 9" in outcomes["alder"].detail
    assert "in source 4, prefix included" in outcomes["birch"].detail
    assert "cedar" in outcomes["cedar"].detail
    assert "test.jsonl" in outcomes["cedar"].detail
    assert "elder" in outcomes["elder"].detail
    told = [record.getMessage() for record in caplog.records if "not evaluated" in record.getMessage()]
    assert sorted(text.partition(":")[0] for text in told) == ["alder", "birch", "cedar", "elder"], "once each"
    assert written(root, "alder") == alone, "what was decoded before the trouble is kept"
    assert run(root, ["alder"])["alder"].state == "skipped"


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
    champion = champion_of(root, "birch", tmp_path)
    assert run(root, champions={"birch": champion})["birch"].state == "done"
    assert read_json(root / "out/evaluate/birch/champion/version.json") == {"version": "7"}
    before = written(root, "alder")
    torch.manual_seed(1)
    GPT2LMHeadModel(GPT2Config.from_pretrained(root / "base")).save_pretrained(root / "base")
    train.run(Workspace(root))
    with caplog.at_level("WARNING", logger="prefixfleet"):
        outcomes = run(root, champions={"birch": champion})
    assert {one.state for one in outcomes.values()} == {"done"}
    assert "birch: champion version 7 has another base and is not compared" in caplog.text
    assert not (root / "out/evaluate/birch/champion").exists()
    assert written(root, "alder") != before


def test_a_killed_run_goes_on_where_stamps_are_missing(trained, monkeypatch, caplog):
    tenants = ("alder", "birch", "elder")
    root = trained(tenants, rows=2)
    run(root)
    whole = {tenant: written(root, tenant) for tenant in tenants}
    shutil.rmtree(root / "out/evaluate")

    def stop(progress):
        if progress.done == 30:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(evaluate, "report_progress", stop)
        with pytest.raises(KeyboardInterrupt):
            run(root)
    assert written(root, "alder") == whole["alder"]
    with caplog.at_level(logging.DEBUG, logger="prefixfleet"):
        outcomes = run(root)
    assert outcomes["alder"].state == "skipped"
    assert outcomes["elder"].state == "done"
    steps = [record.progress for record in caplog.records if hasattr(record, "progress")]
    assert [step.done for step in steps] == list(range(1, steps[0].total + 1))
    assert steps[0].total < 36, "three tenants of 6 rows, each with its prefix and without"
    assert {tenant: written(root, tenant) for tenant in tenants} == whole


def test_examples_are_in_memory_only_while_they_are_decoded(trained, monkeypatch):
    """Else the memory would grow with the fleet."""
    root = trained(("alder", "birch", "elder"), rows=1)
    tenants, held = [], []

    class Watched(evaluate.TenantEvaluation):
        def __init__(self, *args):
            super().__init__(*args)
            tenants.append(self)

        def finish_job(self, job):
            held.append(sum(bool(one.examples or one.predictions) for tenant in tenants for one in tenant.jobs))
            super().finish_job(job)

    monkeypatch.setattr(evaluate, "TenantEvaluation", Watched)
    assert {one.state for one in run(root).values()} == {"done"}
    assert len(held) == 6
    assert max(held) < 4, "one that is done, and those of whom a window of four rows is"
    assert not any(one.examples or one.predictions for tenant in tenants for one in tenant.jobs)


def test_plain_decoding_gives_the_same_files(trained):
    root = trained(("alder", "cedar"), num_beams=3)
    run(root)
    before = {tenant: written(root, tenant) for tenant in ("alder", "cedar")}
    shutil.rmtree(root / "out/evaluate")
    with turn_off(*DECODING):
        assert {one.state for one in run(root).values()} == {"done"}
    assert before == {tenant: written(root, tenant) for tenant in ("alder", "cedar")}


def test_nothing_is_loaded_where_everything_stands(trained, monkeypatch):
    root = trained(("alder",))
    run(root)
    monkeypatch.setattr("components.model.base.load.load_base", lambda *_: pytest.fail("loads the base"))
    assert run(root)["alder"] == TenantOutcome("alder", "evaluate", "skipped")
