import json
from pathlib import Path

import pytest

from components.config import DataConfig
from components.data.importers import import_dataset
from components.data.schema import Example
from components.errors import DataError


def test_a_dialogue_keeps_its_turns_and_all_summaries(tmp_path: Path) -> None:
    line = {
        "fname": "t",
        "dialogue": "#1: Hi.\n#2: Yo.\n",
        "summary1": "A.",
        "topic1": "x",
        "summary2": "B.",
        "summary3": "C.",
    }
    (tmp_path / "dialogsum.test.jsonl").write_text(json.dumps(line))
    (tmp_path / "dialogsum.train.jsonl").write_text('{"dialogue": "d", "summary": "s  t"}\n')
    assert import_dataset("dialogsum", str(tmp_path), DataConfig()) == {
        "test": [Example("#1: Hi.\n#2: Yo.", ("A.", "B.", "C."))],
        "train": [Example("d", ("s t",))],
    }


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"dialogue": "d"}', '{"summary": "s"}', '{"dialogue": "d", "summary": 3}']
)
def test_an_error_names_the_line_of_a_broken_dialogue(tmp_path: Path, line: str) -> None:
    (tmp_path / "dialogsum.dev.jsonl").write_text(f'{{"dialogue": "d", "summary": "s"}}\n{line}\n')
    with pytest.raises(DataError, match=r"dialogsum\.dev\.jsonl:2"):
        import_dataset("dialogsum", str(tmp_path), DataConfig())


def test_the_published_release_is_read_completely(real_data: Path) -> None:
    splits = import_dataset("dialogsum", str(real_data / "dialogsum"), DataConfig())
    counts = {split: (len(rows), sum(len(row.references) for row in rows)) for split, rows in splits.items()}
    assert counts == {"validation": (500, 500), "test": (500, 1500)}
