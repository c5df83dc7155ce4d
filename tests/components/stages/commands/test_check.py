"""Checking drops without taking them, and the dataset where no drop waits."""

import json

import pytest

from components.errors import DataError
from components.stages.commands.check import check_data
from components.stages.workspace import Workspace


@pytest.fixture
def workspace(make_root):
    return Workspace(make_root(("alder",)))


def test_a_check_has_the_lines_and_the_refusal_of_every_drop_and_takes_none(workspace, write_tenant, write_lines):
    write_tenant(workspace.drops, "birch", start=3)
    write_lines(workspace.drops / "cedar/train.jsonl", [{"source": "a", "references": ["b"]}])
    (workspace.drops / "alder").mkdir()
    (workspace.drops / "alder/test.jsonl").write_text('{"source": "a"}\n')
    checks = check_data(workspace).tenants
    assert sorted(checks) == ["alder", "birch", "cedar"]
    assert checks["birch"].refusal == ""
    assert {split: counts.new for split, counts in checks["birch"].facts.counts.items()} == {
        "train": 12,
        "validation": 4,
        "test": 6,
    }
    assert len(checks["alder"].report.rejects) == 1
    assert checks["alder"].refusal
    assert "validation.jsonl" in checks["cedar"].refusal
    assert not (workspace.data / "birch").exists()


def test_lines_that_repeat_the_drop_or_the_dataset_are_counted(workspace, examples_of, write_lines):
    known, fresh = examples_of("alder", 12)[:5], examples_of("alder", 3, start=500)
    write_lines(workspace.drops / "alder/train.jsonl", [*known, *fresh, *fresh, known[0]])
    facts = check_data(workspace).tenants["alder"].facts
    counts = facts.counts["train"]
    assert (counts.examples, counts.duplicates, counts.known, counts.new) == (12, 4, 5, 3)
    assert facts.describe() == "train 12 lines: 3 new, 4 repeat another line of the drop, 5 repeat the dataset"


def test_a_drop_whose_test_repeats_train_would_be_refused_and_a_small_overlap_is_told(
    workspace, examples_of, write_lines
):
    lines = examples_of("birch", 80)
    write_lines(workspace.drops / "birch/train.jsonl", lines[:40])
    write_lines(workspace.drops / "birch/validation.jsonl", lines[40:50])
    write_lines(workspace.drops / "birch/test.jsonl", [*lines[60:80], *lines[:2]])
    small = check_data(workspace).tenants["birch"]
    assert small.refusal == ""
    assert [overlap.sentence for overlap in small.facts.overlaps] == [
        "2 of 22 test examples (9.1%) have a source that is also in train, 2 of them with the same reference"
    ]
    write_lines(workspace.drops / "birch/test.jsonl", lines[:40])
    copied = check_data(workspace).tenants["birch"].refusal
    assert "at most 10% of the test sources of birch in train" in copied
    assert "data.max_overlap" in copied


def test_without_drops_the_dataset_is_checked(workspace, write_lines, examples_of):
    check = check_data(workspace)
    assert (list(check.tenants), check.tenants["alder"].origin, check.tenants["alder"].is_faulty) == (
        ["alder"],
        "data",
        False,
    )
    write_lines(workspace.data / "alder/test.jsonl", examples_of("alder", 12))
    assert "of the test sources of alder in train" in check_data(workspace, ["alder"]).tenants["alder"].refusal


def test_files_that_are_links_into_a_cache_are_checked_as_data(workspace):
    path = workspace.data / "alder/train.jsonl"
    path.rename(workspace.root / "cached")
    path.symlink_to(workspace.root / "cached")
    assert not check_data(workspace).tenants["alder"].is_faulty


def test_lengths_and_scripts_are_measured_with_the_bases_tokenizer(workspace, write_tenant, examples_of):
    write_tenant(workspace.drops, "birch")
    check = check_data(workspace)
    texts = check.tenants["birch"].texts["train"]
    assert check.uncounted == ""
    longest = max(len(line["source"]) for line in examples_of("birch", 12))
    assert texts.tokens.longest_source == longest + 1  # a token a letter, and the end
    assert texts.scripts == {"Latin": 1.0}
    long = {"source": "x" * 300, "references": ["b"]}
    with (workspace.drops / "birch/train.jsonl").open("a") as stream:
        stream.write(json.dumps(long) + "\n")
    (note,) = check_data(workspace).tenants["birch"].notes
    assert "more than the base's context of 160" in note
    (workspace.root / "base/tokenizer.json").unlink()
    assert "no readable tokenizer.json" in check_data(workspace).uncounted


def test_a_test_split_below_min_slice_is_told(make_root):
    workspace = Workspace(make_root(("alder",), gate={"min_slice": 20}))
    assert check_data(workspace).tenants["alder"].notes == [
        "alder: 6 test examples, fewer than gate.min_slice=20: too few to compare prefixes"
    ]


@pytest.mark.parametrize("tenants", [None, ["birch"]])
def test_checking_without_drops_and_data_is_refused(make_root, tenants):
    with pytest.raises(DataError, match=r"drops in .*drops or data in"):
        check_data(Workspace(make_root(())), tenants)


def test_unknown_tokens_are_told_with_the_limit_of_training(workspace, write_tenant):
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "thing": 1}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(workspace.root / "base/tokenizer.json"))
    write_tenant(workspace.drops, "birch")
    checked = check_data(workspace).tenants["birch"]
    assert not checked.is_faulty
    assert len(checked.notes) == 3
    assert "% of the tokens are unknown to the base's tokenizer, first in " in checked.notes[0]
    assert checked.notes[0].endswith("; training refuses more than 1.00% (data.max_unknown)")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("chat_template.jinja", "{{ messages }}"),
        ("chat_template.json", '{"chat_template": "{{ messages }}"}'),
        ("additional_chat_templates/tools.jinja", "{{ messages }}"),
        ("tokenizer_config.json", '{"chat_template": "{{ messages }}"}'),
    ],
)
def test_conversations_for_a_base_without_a_chat_template_are_told(workspace, write_lines, file, content):
    for split, count in (("train", 12), ("validation", 4), ("test", 6)):
        turns = [("user", f"a {split}"), ("assistant", "b")]
        messages = [{"role": role, "content": text} for role, text in turns]
        write_lines(workspace.drops / f"birch/{split}.jsonl", [{"messages": messages}] * count)
    (told,) = [note for note in check_data(workspace).tenants["birch"].notes if "conversations" in note]
    assert told.startswith("birch: its conversations cannot be trained: wanted a base with a chat template")
    path = workspace.root / "base" / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    assert not [note for note in check_data(workspace).tenants["birch"].notes if "conversations" in note]
