import json
from pathlib import Path

import pytest

from components.config import DataConfig
from components.data.importers import import_dataset
from components.data.schema import Example, write_split
from components.errors import DataError

LIMITS = DataConfig()


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def test_this_project_s_json_lines_need_no_options(tmp_path: Path) -> None:
    rows = [Example("a", ("b", "c"), "seen"), Example("d", ("e",), "unseen")]
    write_split(tmp_path / "train.jsonl", rows)
    write_split(tmp_path / "valid.jsonl", rows[:1])
    splits = import_dataset("hub", str(tmp_path), LIMITS, slice_field="slice")
    assert splits == {"train": rows, "validation": rows[:1]}


def test_options_name_the_columns_of_a_csv_file(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text,short,other\nA,B,C\nD,E,\n")
    options = {"source_field": "text", "reference_field": "short,other", "split": "test"}
    splits = import_dataset("hub", str(tmp_path / "rows.csv"), DataConfig(max_rejects=0.5), **options)
    assert splits == {"test": [Example("A", ("B", "C")), Example("D", ("E",))]}


def test_parquet_files_with_xsum_s_columns_are_read(tmp_path: Path) -> None:
    from datasets import Dataset

    Dataset.from_dict({"document": ["A\nB"], "summary": [" C. "], "id": ["1"]}).to_parquet(tmp_path / "test.parquet")
    assert import_dataset("xsum", str(tmp_path), LIMITS) == {"test": [Example("A\nB", ("C.",))]}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            {"source_field": "txet"},
            "a column 'txet' in .*; got the columns 'source', 'references', 'number'; .*--source-field",
        ),
        ({"source_field": "sorce"}, "did you mean 'source'"),
        ({"source_field": "references"}, r"got list \['b'\] in column 'references' of .*line 1"),
        ({"nonsense": "x"}, "source_field, reference_field"),
    ],
)
def test_a_wrong_option_raises_a_data_error(tmp_path: Path, options: dict[str, str], reason: str) -> None:
    (tmp_path / "train.jsonl").write_text(json.dumps({"source": "a", "references": ["b"], "number": 3}))
    with pytest.raises(DataError, match=reason):
        import_dataset("hub", str(tmp_path), LIMITS, **options)


@pytest.mark.parametrize("name", ["train.jsonl", "train.parquet"])
def test_a_broken_file_raises_a_data_error(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("{oops")
    with pytest.raises(DataError, match="correct the file"):
        import_dataset("hub", str(tmp_path / name), LIMITS)


def test_two_files_of_a_split_and_two_formats_are_refused(tmp_path: Path) -> None:
    for name in ("dev.jsonl", "valid.jsonl"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"dev\.jsonl and valid\.jsonl"):
        import_dataset("hub", str(tmp_path), LIMITS)
    (tmp_path / "dev.jsonl").rename(tmp_path / "test.csv")
    with pytest.raises(DataError, match="one format"):
        import_dataset("hub", str(tmp_path), LIMITS)


def test_the_error_on_a_hub_id_without_network_mentions_the_network() -> None:
    with pytest.raises(DataError, match="the network"):
        import_dataset("hub", "nobody/no-such-set", LIMITS)
