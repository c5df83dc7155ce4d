"""Stage `base`: base.json is kept until the base's files or its section in params.yaml change."""

import json

import pytest

from components.errors import BaseModelError
from components.stages.base import read_base_facts
from components.stages.stamps import read_json, write_json
from components.stages.workspace import Workspace


def test_the_base_is_loaded_again_only_after_a_change(make_root, monkeypatch):
    root = make_root(("alder",))
    facts = read_base_facts(Workspace(root))
    assert facts == read_json(root / "out/base/base.json")
    with monkeypatch.context() as patch:
        patch.setattr("components.model.base.load.load_base", lambda *_: pytest.fail("loads the base"))
        assert read_base_facts(Workspace(root)) == facts
    file = root / "base/tokenizer.json"
    values = json.loads(file.read_text())
    ids = values["model"]["vocab"]
    ids["a"], ids["b"] = ids["b"], ids["a"]
    file.write_text(json.dumps(values))
    changed = read_base_facts(Workspace(root))
    assert (changed["digest"], changed["source"]) == (facts["digest"], "folder")
    assert changed["tokenizer_digest"] != facts["tokenizer_digest"]


def test_a_hub_model_is_not_loaded_while_its_name_and_revision_are_the_same(make_root, monkeypatch):
    monkeypatch.setattr("components.model.base.load.load_base", lambda *_: pytest.fail("loads the base"))
    root = make_root((), base={"path": "org/model", "revision": "v1"})
    named = {"source": "hub", "path": "org/model", "revision": "v1", "dtype": Workspace(root).base_config.dtype}
    facts = {**named, **dict.fromkeys(("digest", "files_digest", "tokenizer_files_digest"), "0" * 64)}
    write_json(root / "out/base/base.json", facts)
    assert read_base_facts(Workspace(root)) == facts


def test_a_quantised_base_has_a_digest_of_its_own(make_root, set_params, monkeypatch):
    root = make_root(("alder",))
    facts = read_base_facts(Workspace(root))
    assert facts["digest"] == facts["files_digest"]
    set_params(root, base={"quantize": "bitsandbytes-int8"})
    quantized = read_base_facts(Workspace(root))
    assert quantized["files_digest"] == facts["digest"]
    assert quantized["digest"] != facts["digest"]
    assert quantized["quantization"] == "bitsandbytes-int8"
    assert quantized["parameters"] == facts["parameters"]
    monkeypatch.setattr("components.model.base.load.load_base", lambda *_: pytest.fail("loads the base"))
    assert read_base_facts(Workspace(root)) == quantized


@pytest.mark.parametrize("key", ["tokenizer_files_digest", "files_digest"])
def test_a_base_json_of_an_earlier_release_is_written_again(make_root, key):
    root = make_root(("alder",))
    facts = read_base_facts(Workspace(root))
    path = root / "out/base/base.json"
    write_json(path, {name: value for name, value in facts.items() if name != key})
    assert read_base_facts(Workspace(root)) == facts == read_json(path)


def test_the_chat_template_has_one_digest_in_the_bases_folder_in_a_named_file_and_in_params(make_root, set_params):
    root = make_root(("alder",))
    assert read_base_facts(Workspace(root))["chat_template_digest"] == ""
    digests = []
    for name, own, values in (
        ("own", "{{ 1 }}", {}),
        ("file", None, {"chat_template": "template.jinja"}),
        ("inline", "{{ 2 }}", {"chat_template": "{{ 1 }}"}),
        ("with values", "{{ 1 }}", {"chat_template_kwargs": {"a": 1}}),
        ("other", "{{ 2 }}", {}),
    ):
        (root / "base/chat_template.jinja").unlink(missing_ok=True)
        if own is not None:
            (root / "base/chat_template.jinja").write_text(own)
        (root / "template.jinja").write_text("{{ 1 }}")
        set_params(root, base=values)
        facts = read_base_facts(Workspace(root))
        assert facts == read_json(root / "out/base/base.json"), name
        digests.append(facts["chat_template_digest"])
    assert len(set(digests[:3])) == 1
    assert len(set(digests)) == 3
    set_params(root, base={"chat_template": "missing.jinja"})
    with pytest.raises(BaseModelError, match=r"missing\.jinja"):
        read_base_facts(Workspace(root))
    set_params(root, base={"chat_template": "{% if %}"})
    with pytest.raises(BaseModelError, match="line 1"):
        read_base_facts(Workspace(root))
