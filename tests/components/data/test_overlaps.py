from pathlib import Path

import pytest

from components.config import DataConfig
from components.data.importers import import_dataset
from components.data.overlaps import find_overlaps, require_few_overlaps
from components.data.schema import Example
from components.errors import DataError


def make(*pairs: str) -> list[Example]:
    return [Example(source, (reference,)) for source, reference in (pair.split("=") for pair in pairs)]


def test_sources_and_whole_examples_in_two_splits_are_counted() -> None:
    splits = {
        "train": make("a=1", "a=2", "b=3", "caf\u00e9 x=4"),
        "validation": make("z=1", "b=9"),
        "test": make("a=2", "b=0", "cafe\u0301  x=5", "q=1", "z=1"),
    }
    found = {(one.split, one.other): (one.examples, one.shared, one.repeated) for one in find_overlaps(splits)}
    assert found == {
        ("validation", "train"): (2, 1, 0),
        ("test", "train"): (5, 3, 1),
        ("test", "validation"): (5, 2, 1),
    }
    assert [one.first for one in find_overlaps(splits)] == [("b",), ("a", "b", "cafe\u0301  x"), ("b", "z")]
    assert find_overlaps({"train": make("a=1"), "test": make("A=1")}) == []
    assert find_overlaps({"test": make("a=1")}) == []
    for hidden in ("a\u200b b", "\ufeffa b", "a\u00ad b", "a\u2060 \u200e b"):
        assert find_overlaps({"train": make("a b=1"), "test": make(f"{hidden}=1")})


@pytest.mark.parametrize(("shared", "refused"), [(1, False), (2, False), (3, True)])
def test_more_than_the_limit_of_shared_sources_is_refused(shared: int, refused: bool) -> None:
    train = make(*(f"{number}=x" for number in range(shared)))
    test = make(*(f"{number}=y" for number in range(20)))
    overlaps = find_overlaps({"train": train, "test": test})
    require_few_overlaps("acme", overlaps, DataConfig(max_overlap=1.0))
    if not refused:
        require_few_overlaps("acme", overlaps, DataConfig())
        return
    with pytest.raises(
        DataError, match=r"at most 10% of the test sources of acme in train; got 3 of 20 .*first is '0'"
    ):
        require_few_overlaps("acme", overlaps, DataConfig())


def test_an_overlap_of_test_with_validation_is_never_refused() -> None:
    overlaps = find_overlaps({"validation": make("a=1"), "test": make("a=1")})
    assert len(overlaps) == 1
    require_few_overlaps("acme", overlaps, DataConfig(max_overlap=0.0))


def test_the_published_data_sets_are_within_the_default_limit(real_data: Path) -> None:
    shares = {}
    for kind, path in (("e2e", "e2e-dataset.zip"), ("webnlg", "webnlg-2017.tar.xz")):
        overlaps = find_overlaps(import_dataset(kind, str(real_data / path), DataConfig()))
        require_few_overlaps(kind, overlaps, DataConfig())
        shares |= {(kind, one.split, one.other): one.shared for one in overlaps}
    assert shares == {
        ("webnlg", "validation", "train"): 12,
        ("webnlg", "test", "train"): 10,
        ("webnlg", "test", "validation"): 3,
    }
