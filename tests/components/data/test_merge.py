"""What a drop adds to a tenant's data, and what is left out."""

import json
from pathlib import Path

from components.config import DataConfig
from components.data.drop_checks import check_drop
from components.data.merge import merge_drop
from components.data.schema import Example, format_line, write_split

LIMITS = DataConfig()


def test_each_line_is_kept_once_and_counted_as_duplicate_or_known_or_new(tmp_path: Path) -> None:
    write_split(tmp_path / "data/acme/train.jsonl", [Example("a", ("1",)), Example("a", ("1",))])
    write_split(tmp_path / "data/acme/test.jsonl", [Example("t", ("1",))])
    drop = tmp_path / "drops/acme"
    lines = [Example("b", ("1",)), Example("a", ("1",)), Example("b", ("1",)), Example("b", ("2",))]
    write_split(drop / "train.jsonl", lines)
    merged = merge_drop(check_drop(drop, LIMITS), tmp_path / "data/acme", LIMITS)
    counts = merged.facts.counts["train"]
    assert (counts.examples, counts.duplicates, counts.known, counts.new, counts.trimmed) == (4, 1, 1, 2, 0)
    assert merged.contents == {
        "train": b"".join(format_line(one).encode() for one in [Example("a", ("1",))] * 2 + [lines[0], lines[3]])
    }
    assert [example.source for example in merged.examples["test"]] == ["t"]
    expected = "train 4 lines: 2 new, 1 repeat another line of the drop, 1 repeat the dataset"
    assert merged.facts.describe() == expected


def test_texts_are_trimmed_and_then_repeat_lines_that_were_not(tmp_path: Path) -> None:
    write_split(tmp_path / "data/acme/train.jsonl", [Example(" a ", ("1\r\n",))])
    drop = tmp_path / "drops/acme"
    drop.mkdir(parents=True)
    lines = [{"source": "a", "references": ["1"]}, {"source": "b\t", "references": [" 2\r\n3 "], "slice": " s"}]
    (drop / "train.jsonl").write_bytes(b"\r\n".join(json.dumps(line).encode() for line in lines))
    merged = merge_drop(check_drop(drop, LIMITS), tmp_path / "data/acme", LIMITS)
    counts = merged.facts.counts["train"]
    assert (counts.known, counts.new, counts.trimmed) == (1, 1, 1)
    assert merged.examples["train"][-1] == Example("b", ("2\n3",), "s")
    assert "1 trimmed" in merged.facts.describe()


def test_a_drop_that_changes_nothing_has_nothing_to_tell(tmp_path: Path) -> None:
    write_split(tmp_path / "acme/train.jsonl", [Example("a", ("1",))])
    merged = merge_drop(check_drop(tmp_path / "acme", LIMITS), None, LIMITS)
    assert merged.facts.describe() == ""
    assert merged.facts.describe(all_splits=True) == "train 1 lines: 1 new"
