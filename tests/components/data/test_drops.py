"""Removing used drops without losing files that were delivered meanwhile."""

from pathlib import Path

from fake_dvc import read_tree

from components.config import DataConfig
from components.data.drop_checks import check_drop
from components.data.drops import list_pending, remove_checked_files
from components.data.schema import SPLITS, Example, format_line, write_split

LIMITS = DataConfig(max_rejects=0.5)


def test_files_delivered_while_the_drop_is_used_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "drops" / "a"
    for split in SPLITS:
        write_split(folder / f"{split}.jsonl", [Example("a", ("b",))])
    report = check_drop(folder, LIMITS)
    newer = Example("newer", ("b",))
    write_split(folder / "train.jsonl", [newer])
    with (folder / "test.jsonl").open("a") as file:
        file.write(format_line(newer))
    remove_checked_files(report, folder)
    assert set(read_tree(folder)) == {"train.jsonl", "test.jsonl"}
    assert read_tree(folder)["train.jsonl"] == format_line(newer).encode()
    assert read_tree(folder)["test.jsonl"].endswith(format_line(newer).encode())


def test_an_interrupted_removal_is_restored_together_with_a_newer_delivery(tmp_path: Path) -> None:
    folder = tmp_path / "drops" / "a"
    folder.mkdir(parents=True)
    (folder / ".train.jsonl.taken.tmp").write_bytes(b"one")
    assert list_pending(tmp_path / "drops") == [folder]
    (folder / ".train.jsonl.taken.tmp").write_bytes(b"two")
    list_pending(tmp_path / "drops")
    assert read_tree(folder) == {"train.jsonl": b"two\none"}
