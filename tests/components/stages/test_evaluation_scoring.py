"""Scoring settings and kept predictions: scored again without decoding; a tenant in Chinese from data to verdict."""

import json

import pytest
from evaluated_tenants import TRAIN, make_champion, run_evaluation
from workspaces import write_lines

from components.evaluation.report import read_report
from components.evaluation.tokenization import load_tokenizer
from components.stages import gate, train
from components.stages.evaluation_scoring import describe_blind_metrics
from components.stages.stamps import read_json, write_json
from components.stages.workspace import Workspace

TENANTS = {tenant: {"train": values} for tenant, values in TRAIN.items()}


def read_reports(root, tenant="birch"):
    folder = root / "out/evaluate" / tenant
    return {part: read_report(folder / part / "report.json") for part in (".", "base", "champion")}


def test_changed_scoring_scores_the_kept_predictions_again(trained, set_params, tmp_path, monkeypatch):
    root = trained(("birch",))
    champions = {"birch": make_champion(root, "birch", tmp_path)}
    run_evaluation(root, champions=champions)
    before = read_reports(root)
    assert {one.tokenizer for one in before.values()} == {"13a"}
    predictions = (root / "out/evaluate/birch/predictions.jsonl").read_bytes()
    monkeypatch.setattr("components.model.base.load.load_base", lambda *_: pytest.fail("loads the base"))
    set_params(root, evaluate={"tokenize": "char", "lowercase": False}, gate={"min_slice": 50}, tenants=TENANTS)
    assert run_evaluation(root, champions=champions)["birch"].state == "skipped"
    after = read_reports(root)
    for part, report in after.items():
        assert (report.tokenizer, report.lowercase) == ("char", False)
        assert report.find_score("bleu").value != before[part].find_score("bleu").value
        assert report.find_score("bleu").low is None
        assert before[part].find_score("bleu").low is not None
        assert report.decoding == before[part].decoding
    assert (root / "out/evaluate/birch/predictions.jsonl").read_bytes() == predictions


def test_the_results_of_an_earlier_release_are_scored_again(trained, monkeypatch):
    root = trained(("birch",))
    run_evaluation(root)
    for part in (".", "base"):
        folder = root / "out/evaluate/birch" / part
        report = read_json(folder / "report.json")
        del report["tokenizer"], report["reference_scores"]
        write_json(folder / "report.json", report)
        stamp = read_json(folder / "stamp.json")
        del stamp["inputs"]["evaluate"]["tokenize"], stamp["inputs"]["min_slice"]
        stamp["files"]["report.json"] = Workspace(root).digests.digest_file(folder / "report.json")
        write_json(folder / "stamp.json", stamp)
    assert read_report(root / "out/evaluate/birch/report.json").tokenizer is None
    monkeypatch.setattr("components.model.base.load.load_base", lambda *_: pytest.fail("loads the base"))
    assert run_evaluation(root)["birch"].state == "skipped"
    assert read_report(root / "out/evaluate/birch/report.json").tokenizer == "13a"


def test_damaged_predictions_are_decoded_again(trained, set_params):
    root = trained(("birch",))
    run_evaluation(root)
    (root / "out/evaluate/birch/predictions.jsonl").write_text("")
    set_params(root, evaluate={"tokenize": "char"}, tenants=TENANTS)
    assert run_evaluation(root)["birch"].state == "done"


def write_texts(root, tenant, text="第{}家餐厅在河边，价格便宜。"):
    for start, split, count in ((0, "train", 12), (20, "validation", 4), (40, "test", 6)):
        lines = [
            {"source": f"id: {number}", "references": [text.format(number)]} for number in range(start, start + count)
        ]
        write_lines(root / "data" / tenant / f"{split}.jsonl", lines)


def test_a_tenant_in_chinese_is_compared_by_its_characters(trained):
    root = trained(("birch",))
    write_texts(root, "birch")
    train.run(Workspace(root))
    assert run_evaluation(root)["birch"].state == "done"
    folder = root / "out/evaluate/birch"
    assert json.loads((folder / "report.json").read_text())["tokenizer"] == "zh"
    lines = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    assert len(lines) == 6
    assert "Rejected" not in gate.judge_tenant(Workspace(root), "birch").detail


def test_metrics_that_cannot_see_the_references_are_told(trained, set_params, caplog):
    root = trained(("birch",))
    write_texts(root, "birch")
    set_params(root, evaluate={"tokenize": "13a"}, tenants=TENANTS)
    train.run(Workspace(root))
    with caplog.at_level("WARNING", logger="prefixfleet"):
        assert run_evaluation(root)["birch"].state == "done"
    told = describe_blind_metrics(read_report(root / "out/evaluate/birch/report.json"))
    assert "birch: with tokenizer 13a the references scored against themselves get BLEU 0.00" in told
    assert told in caplog.text
    outcome = gate.try_judge_tenant(Workspace(root), "birch")
    assert outcome.state == "failed"
    assert "set evaluate.tokenize: zh (or auto)" in outcome.detail


def test_a_missing_dictionary_ends_the_tenant_before_anything_is_decoded(trained, monkeypatch):
    import sacrebleu.tokenizers.tokenizer_ja_mecab as japanese

    root = trained(("birch",))
    write_texts(root, "birch", "{}番の店は川の近くにあります。")
    train.run(Workspace(root))
    monkeypatch.setattr(japanese, "MeCab", None)
    monkeypatch.setattr("components.model.decoding.decode", lambda *_: pytest.fail("decodes"))
    load_tokenizer.cache_clear()
    outcome = run_evaluation(root)["birch"]
    load_tokenizer.cache_clear()
    assert outcome.state == "failed"
    assert "pip install mecab-python3 ipadic, or set evaluate.tokenize: char" in outcome.detail
