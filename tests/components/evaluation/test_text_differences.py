"""Differences between two texts, word by word."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.evaluation.text_differences import find_differences

texts = st.text(alphabet="ab 猫犬.'é\n", max_size=30)


@given(texts, texts)
def test_the_parts_of_a_text_are_the_text_and_shared_parts_agree(first, second):
    own, other = find_differences(first, second)
    assert ("".join(part.text for part in own), "".join(part.text for part in other)) == (first, second)
    assert [part.text for part in own if part.is_shared] == [part.text for part in other if part.is_shared]


@pytest.mark.parametrize(
    ("first", "second", "changed"),
    [
        ("The red boat.", "The blue boat.", (["red"], ["blue"])),
        ("a red, old boat", "a red old boat", ([","], [])),
        ("boat", "boats", (["boat"], ["boats"])),
        ("我喜欢猫", "我喜欢狗", (["猫"], ["狗"])),
        ("", "new", ([], ["new"])),
        ("same", "same", ([], [])),
    ],
)
def test_whole_words_and_signs_differ(first, second, changed):
    own, other = find_differences(first, second)
    assert tuple([part.text for part in parts if not part.is_shared] for parts in (own, other)) == changed
