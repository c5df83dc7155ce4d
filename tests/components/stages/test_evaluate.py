"""Stage `evaluate`: one pass over all tenants' rows gives each tenant the same files as alone."""

import logging
import shutil
from threading import Barrier
from typing import Any

import pytest
from evaluated_tenants import TRAIN, make_champion, read_written, run_evaluation
from plain_paths import DECODING, turn_off

from components.registry import registry
from components.registry.mlflow.versions import Version
from components.stages import evaluate
from components.stages.outcome import TenantOutcome

DECODINGS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "beams": {"num_beams": 3},
    "sampled": {"temperature": 1.0, "seed": 3},
    "guided": {"guidance": 1.5, "num_beams": 2},
    "controlled": {"min_new_tokens": 3, "repetition_penalty": 1.3, "no_repeat_ngram": 2, "banned": ["q"]},
}


@pytest.mark.slow
def test_a_tenant_gets_the_same_files_alone_and_together(trained, set_params, tmp_path):
    """The tenants are trained once for all decodings."""
    root = trained()
    champions = {"birch": make_champion(root, "birch", tmp_path)}
    overrides: dict[str, Any] = {tenant: {"train": values} for tenant, values in TRAIN.items()}
    overrides["elder"]["evaluate"] = {"max_new_tokens": 5}
    files = {"report.json", "predictions.jsonl", "stamp.json"}

    def set_decoding(name: str, rows: int) -> None:
        set_params(root, evaluate=DECODINGS[name], tenants=overrides, engine={"decode_rows": rows})

    for number, name in enumerate(DECODINGS):
        shutil.rmtree(root / "out/evaluate", ignore_errors=True)
        set_decoding(name, 4)
        outcomes = run_evaluation(root, champions=champions)
        assert {one.state for one in outcomes.values()} == {"done"}, name
        together = {tenant: read_written(root, tenant) for tenant in TRAIN}
        assert set(together["alder"]) == files | {f"base/{file}" for file in files}
        champion_files = {f"champion/{file}" for file in (*files, "version.json")}
        assert set(together["birch"]) == set(together["alder"]) | champion_files
        predictions = {one["predictions.jsonl"] for one in together.values()}
        assert len(predictions) == len(TRAIN), "every tenant must predict something else"
        assert {one.state for one in run_evaluation(root, champions=champions).values()} == {"skipped"}

        shutil.rmtree(root / "out/evaluate")
        pairs = list(zip(TRAIN, (1, 2, 3, 5, 64, 4), strict=True))
        for tenant, rows in pairs if name == "beams" else pairs[number % 2 :: 2]:
            set_decoding(name, rows)
            assert run_evaluation(root, [tenant], champions)[tenant].detail == outcomes[tenant].detail
            assert read_written(root, tenant) == together[tenant], (name, tenant)


def test_a_killed_run_continues_where_stamps_are_missing(trained, monkeypatch, caplog):
    tenants = ("alder", "birch", "elder")
    root = trained(tenants, rows=2)
    run_evaluation(root)
    whole = {tenant: read_written(root, tenant) for tenant in tenants}
    shutil.rmtree(root / "out/evaluate")

    def stop(progress):
        if progress.done == 30:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(evaluate, "report_progress", stop)
        with pytest.raises(KeyboardInterrupt):
            run_evaluation(root)
    assert read_written(root, "alder") == whole["alder"]
    with caplog.at_level(logging.DEBUG, logger="prefixfleet"):
        outcomes = run_evaluation(root)
    assert outcomes["alder"].state == "skipped"
    assert outcomes["elder"].state == "done"
    steps = [record.progress for record in caplog.records if hasattr(record, "progress")]
    assert [step.done for step in steps] == list(range(1, steps[0].total + 1))
    assert steps[0].total < 36, "three tenants of 6 rows, each with its prefix and without"
    assert {tenant: read_written(root, tenant) for tenant in tenants} == whole


def test_plain_decoding_gives_the_same_files(trained):
    root = trained(("alder", "cedar"), num_beams=3)
    run_evaluation(root)
    before = {tenant: read_written(root, tenant) for tenant in ("alder", "cedar")}
    shutil.rmtree(root / "out/evaluate")
    with turn_off(*DECODING):
        assert {one.state for one in run_evaluation(root).values()} == {"done"}
    assert before == {tenant: read_written(root, tenant) for tenant in ("alder", "cedar")}


def test_a_champion_that_cannot_serve_is_not_compared_and_a_foreign_one_is_refused(trained, caplog):
    root = trained(("alder", "cedar"))
    champions = {
        "alder": Version("alder", "3"),
        "cedar": Version("cedar", "4", sha256="a" * 64, tags={"owner": "0123456789abcdef"}),
    }
    outcomes = run_evaluation(root, champions=champions)
    assert {tenant: one.state for tenant, one in outcomes.items()} == {"alder": "done", "cedar": "failed"}
    assert "version 4 of cedar, which belongs to workspace 0123456789abcdef" in outcomes["cedar"].detail
    assert "alder: champion version 3 is not compared: it was not registered by PrefixFleet" in caplog.text
    assert not (root / "out/evaluate/alder/champion").exists()


def test_no_base_is_loaded_if_everything_is_up_to_date(trained, monkeypatch):
    root = trained(("alder",))
    run_evaluation(root)
    monkeypatch.setattr("components.model.base.load.load_base", lambda *_: pytest.fail("loads the base"))
    assert run_evaluation(root)["alder"] == TenantOutcome("alder", "evaluate", "skipped")


def test_the_files_of_several_champions_are_fetched_at_once(trained, tmp_path, monkeypatch):
    tenants, meeting, fetch = ("alder", "birch"), Barrier(2), registry.fetch_version
    root = trained(tenants)
    champions = {tenant: make_champion(root, tenant, tmp_path / tenant) for tenant in tenants}

    def meet_and_fetch(*values):
        meeting.wait(timeout=300)
        return fetch(*values)

    monkeypatch.setattr(registry, "fetch_version", meet_and_fetch)
    assert {one.state for one in run_evaluation(root, champions=champions).values()} == {"done"}
    assert all((root / "out/evaluate" / tenant / "champion/report.json").exists() for tenant in tenants)
