import zipfile
from pathlib import Path

import pytest

from components.config import DataConfig
from components.data.importers import import_dataset
from components.data.schema import Example
from components.errors import DataError

ROWS = {
    "trainset.csv": 'mr,ref\n"name[A], eatType[pub]","A  is\na pub. "\n"name[A], eatType[pub]",A pub: A.\n',
    "testset.csv": 'MR\n"name[B]"\n',
    "testset_w_refs.csv": '"mr","ref"\n"name[B], customer rating[5 out of 5]",B.\n"name[C]",C.\n'
    '"name[B], customer rating[5 out of 5]","B, again."\n',
}


@pytest.fixture(params=["folder", "zip"])
def release(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "zip":
        with zipfile.ZipFile(tmp_path / "e2e.zip", "w") as archive:
            for name, text in ROWS.items():
                archive.writestr(f"e2e-dataset/{name}", text)
        return tmp_path / "e2e.zip"
    for name, text in ROWS.items():
        (tmp_path / name).write_text(text, encoding="utf-8-sig")
    return tmp_path


def test_training_has_pairs_and_the_test_split_groups_references(release: Path) -> None:
    assert import_dataset("e2e", str(release), DataConfig()) == {
        "train": [
            Example("name : A | eatType : pub", ("A is a pub.",)),
            Example("name : A | eatType : pub", ("A pub: A.",)),
        ],
        "test": [Example("name : B | customer rating : 5 out of 5", ("B.", "B, again.")), Example("name : C", ("C.",))],
    }


@pytest.mark.parametrize("representation", ["", "name", "name[A", "name[A]; food[B]", "[A]", "name[A] x"])
def test_an_error_names_the_row_without_a_meaning_representation(tmp_path: Path, representation: str) -> None:
    (tmp_path / "devset.csv").write_text(f'mr,ref\nname[A],A.\n"{representation}",B.\n')
    with pytest.raises(DataError, match=r"devset\.csv, row 2"):
        import_dataset("e2e", str(tmp_path), DataConfig())


def test_the_published_release_is_read_completely(real_data: Path) -> None:
    splits = import_dataset("e2e", str(real_data / "e2e-dataset.zip"), DataConfig())
    counts = {split: (len(rows), sum(len(row.references) for row in rows)) for split, rows in splits.items()}
    assert counts == {"train": (42061, 42061), "validation": (547, 4672), "test": (630, 4693)}
    assert splits["test"][0] == Example(
        "name : Blue Spice | eatType : coffee shop | area : city centre",
        ("A coffee shop in the city centre area called Blue Spice.", "Blue Spice is a coffee shop in city centre."),
    )
    assert "£" in splits["train"][0].source
