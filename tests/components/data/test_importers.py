import json
from pathlib import Path

import pytest

from components.config import DataConfig
from components.data.importers import IMPORTERS, import_dataset
from components.errors import DataError


def test_the_error_on_an_unknown_kind_lists_the_known_kinds(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=", ".join(IMPORTERS)):
        import_dataset("e3e", str(tmp_path), DataConfig())


@pytest.mark.parametrize("kind", ["e2e", "webnlg", "dialogsum", "dart", "hub", "xsum"])
def test_a_missing_path_and_an_empty_folder_raise_data_errors(kind: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file or folder"):
        import_dataset(kind, str(tmp_path / "none"), DataConfig())
    with pytest.raises(DataError):
        import_dataset(kind, str(tmp_path), DataConfig())


def test_only_too_many_examples_outside_the_limits_are_an_error(tmp_path: Path) -> None:
    lines = [json.dumps({"dialogue": "d" * length, "summary": "s"}) for length in (10, 90, 10)]
    (tmp_path / "train.jsonl").write_text("\n".join(lines))
    few = DataConfig(max_source_chars=50, max_rejects=0.34)
    assert len(import_dataset("dialogsum", str(tmp_path), few)["train"]) == 3
    with pytest.raises(DataError, match="train, example 2: source has 90 characters"):
        import_dataset("dialogsum", str(tmp_path), DataConfig(max_source_chars=50))
