import json
from pathlib import Path

import pytest

from components.config import DataConfig
from components.data.importers import import_dataset
from components.data.schema import Example
from components.errors import DataError


def dart(*triples: list[str]) -> list[object]:
    notes = [{"source": "mturk", "text": "One."}, {"source": "mturk", "text": "Two."}]
    return [{"tripleset": list(triples), "subtree_was_extended": False, "annotations": notes}]


def test_only_the_relation_is_in_lower_case(tmp_path: Path) -> None:
    entries = dart(["Mars Hill College", "JOINED", "1973"], ["[TABLECONTEXT]", "[TITLE]", "A"])
    (tmp_path / "dart-v1.1.1-full-train.json").write_text(json.dumps(entries))
    (tmp_path / "dart-v1.1.1-full-dev.json").write_text(json.dumps(entries))
    source = "Mars Hill College : joined : 1973 | [TABLECONTEXT] : [title] : A"
    assert import_dataset("dart", str(tmp_path), DataConfig()) == {
        "train": [Example(source, ("One.",)), Example(source, ("Two.",))],
        "validation": [Example(source, ("One.", "Two."))],
    }


@pytest.mark.parametrize("entries", [{}, [{}], dart(["a", "b"]), [{"tripleset": [], "annotations": [{"text": 3}]}]])
def test_an_error_names_the_broken_file(tmp_path: Path, entries: object) -> None:
    (tmp_path / "dart-test.json").write_text(json.dumps(entries))
    with pytest.raises(DataError, match=r"dart-test\.json"):
        import_dataset("dart", str(tmp_path), DataConfig())
