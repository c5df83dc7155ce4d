"""Documents that prefixes start from: read with the plan, part of the fingerprint, and sent as text."""

import shutil

import pytest

from components.config import TrainConfig
from components.errors import ConfigError
from components.registry.manifest import read_manifest
from components.stages import train
from components.stages.init_texts import insert_init_text, read_init_text
from components.stages.outcome import raise_on_failures
from components.stages.plan import plan
from components.stages.sharding.request_building import RequestBuilder
from components.stages.workspace import Workspace

TRAIN = {"prefix_length": 8, "max_steps": 2, "validate_every": 2}
NAMED = {"train": {"init_text": {"file": "texts/alder.txt"}}}


def write_text(root, text, name="alder.txt"):
    file = root / "texts" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def list_fingerprints(root):
    return plan(Workspace(root)).collect_fingerprints()


def test_a_document_is_the_same_start_as_its_text(make_root, set_params):
    root = make_root(("alder", "birch"), train=TRAIN, tenants={"alder": NAMED})
    file = write_text(root, "\n say it\n")
    from_file = list_fingerprints(root)
    raise_on_failures(train.run(Workspace(root)))
    assert read_manifest(root / "out/train/alder").train["init_text"] == "say it"
    set_params(root, train=TRAIN, tenants={"alder": {"train": {"init_text": "say it"}}})
    assert list_fingerprints(root) == from_file
    assert plan(Workspace(root)).items == ()
    set_params(
        root, train=TRAIN, tenants={"alder": {"train": {"init_text": {"file": str(shutil.move(file, root / "moved"))}}}}
    )
    assert plan(Workspace(root)).items == ()
    (root / "moved").write_text("say so")
    assert plan(Workspace(root)).sentence == "1 to train, 1 up to date: alder (train.init_text changed)"
    raise_on_failures(train.run(Workspace(root)))
    assert plan(Workspace(root)).items == ()


def test_a_document_that_cannot_be_used_stops_its_tenant_alone(make_root):
    root = make_root(("alder", "birch"), train=TRAIN, tenants={"alder": NAMED})
    reason = "train.init_text names texts/alder.txt, which cannot be read"
    assert plan(Workspace(root)).reasons == {"alder": reason, "birch": "no prefix yet"}
    alder, birch = train.run(Workspace(root))
    assert (alder.state, birch.state) == ("failed", "done")
    assert f"a text file for train.init_text; got {root}/texts/alder.txt: No such file or directory" in alder.detail
    write_text(root, "words that are more than slots")
    birch, alder = train.run(Workspace(root))
    assert (alder.state, birch.state) == ("failed", "skipped")
    assert "at most 8 tokens, one for each slot; got 30 tokens" in alder.detail
    write_text(root, "by slots")
    assert [one.state for one in train.run(Workspace(root))] == ["skipped", "done"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b" \n", "which is empty"),
        (b"\xff\xfe", "which is not UTF-8"),
        (b"a" * ((1 << 20) + 1), "of at most 1,048,576 bytes"),
        (None, "No such file"),
    ],
)
def test_a_file_without_a_usable_text_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "a.txt").write_bytes(content)
    named = TrainConfig.model_validate({"init_text": {"file": "a.txt"}})
    with pytest.raises(ConfigError, match=message):
        read_init_text(tmp_path, named)
    sections = {"train": {"init_text": {"file": "a.txt"}, "seed": 2}, "gate": {}}
    assert insert_init_text(tmp_path, sections) == sections


def test_other_sections_stay_as_they_are(tmp_path):
    train_section = TrainConfig(init_text="words")
    assert read_init_text(tmp_path, train_section) is train_section
    for sections in ({"gate": {}}, {"train": {"seed": 1}}, {"train": {"init_text": None}}):
        assert insert_init_text(tmp_path, sections) == sections


def test_workers_get_the_text(make_checkout, set_params):
    root = make_checkout(("alder", "birch"))
    write_text(root, "own words\n")
    write_text(root, "words of all", "all.txt")
    set_params(root, train={"init_text": {"file": "texts/all.txt"}}, tenants={"alder": NAMED})
    workspace = Workspace(root)
    planned = plan(workspace)
    params = RequestBuilder(workspace, planned.base, {}).build(planned.items, "shard-1").parsed_params
    assert params.train.init_text == "words of all"
    assert params.for_tenant("alder").train.init_text == "own words"
    assert {item.tenant: item.train.init_text for item in planned.items} == {
        tenant: params.for_tenant(tenant).train.init_text for tenant in ("alder", "birch")
    }
