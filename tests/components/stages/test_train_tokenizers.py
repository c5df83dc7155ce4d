"""Training on a base whose tokenizer marks the start of a text and does not know all letters."""

import json

import pytest
from tokenizer_kinds import make_tokenizer

from components.errors import BaseModelError
from components.stages import train
from components.stages.base import read_base_facts
from components.stages.plan import plan
from components.stages.workspace import Workspace


def put_tokenizer(root, kind, build_model):
    tokenizer = make_tokenizer(kind)
    build_model("gpt2", vocab_size=len(tokenizer)).save_pretrained(root / "base")
    tokenizer.save_pretrained(root / "base")
    return tokenizer


def write_data(root, tenant, target):
    for split in ("train", "validation", "test"):
        lines = [
            {"source": f"the cat sat {split} {number}", "references": [f"{target} {number}"]}
            if target != "the mat"
            else {"source": f"the cat {'blue ' * number}{split[:2]}", "references": ["on a mat"]}
            for number in range(4)
        ]
        file = root / "data" / tenant / f"{split}.jsonl"
        file.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def test_a_tenant_whose_text_is_unknown_fails_by_name_and_the_others_are_trained(make_root, build_model, set_params):
    root = make_root(("alder", "birch"))
    put_tokenizer(root, "metaspace", build_model)
    write_data(root, "alder", "the mat")
    write_data(root, "birch", "寿司")
    set_params(root, data={"max_unknown": 0.05})
    alder, birch = train.run(Workspace(root))
    assert (alder.state, birch.state) == ("done", "failed"), (alder, birch)
    assert "at most 5.00% tokens that the base's tokenizer does not know" in birch.detail
    assert "data.max_unknown" in birch.detail
    set_params(root, data={"max_unknown": 1.0})
    assert [one.state for one in train.run(Workspace(root))] == ["skipped", "done"]


def test_prefixes_of_ids_of_an_earlier_release_are_trained_again(make_root, build_model, monkeypatch):
    root = make_root(("alder",))
    put_tokenizer(root, "llama3", build_model)
    files = read_base_facts(Workspace(root))["tokenizer_files_digest"]
    with monkeypatch.context() as patch:
        patch.setattr("loaded_bases._LARGEST_BYTES", 0)  # or a copy of a base that was loaded before is given out
        patch.setattr("components.model.base.load.mark_tokenizer_digest", lambda digest, **_: digest)
        (root / "out/base/base.json").unlink()
        assert [one.state for one in train.run(Workspace(root))] == ["done"]
    path = root / "out/base/base.json"
    facts = json.loads(path.read_text())
    assert facts.pop("tokenizer_files_digest") == facts["tokenizer_digest"] == files
    path.write_text(json.dumps(facts))
    assert plan(Workspace(root)).reasons == {"alder": "tokenizer changed"}
    assert [one.state for one in train.run(Workspace(root))] == ["done"]
    assert plan(Workspace(root)).reasons == {}


def test_a_token_without_a_row_is_refused_before_any_tenant_is_trained(make_root, build_model):
    root = make_root(("alder", "birch"))
    tokenizer = put_tokenizer(root, "gpt2", build_model)
    tokenizer.add_tokens(["Blue"])
    tokenizer.save_pretrained(root / "base")
    with pytest.raises(BaseModelError, match=r"'Blue' with id \d+.*resize_token_embeddings"):
        train.run(Workspace(root))
    assert not (root / "out/train").exists()
