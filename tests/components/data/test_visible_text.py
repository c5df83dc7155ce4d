import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.data.visible_text import has_visible_text, trim_text


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \t\r\n\u2028\u00a0\u3000",
        "\u200b",
        "\ufeff",
        "\x00\x07\x1f\x7f\x9b",
        "\u2060\u200e\u00ad\u180e",
        "\u0301\u0489\ufe0f",
        "\u115f\u3164\uffa0\u2800",
        "\ufffe\ufdd0\U000e0001\U000e01f0\U0001ffff",
    ],
)
def test_invisible_characters_alone_are_no_text(text: str) -> None:
    assert not has_visible_text(text)


@pytest.mark.parametrize("text", ["a", "\u200b0", "\u4e2d", "\u0301e", "-", "\u2713", "\U0001f600", "\ue000", "\ufffd"])
def test_one_visible_character_is_a_text(text: str) -> None:
    assert has_visible_text(text)


@pytest.mark.parametrize(
    ("given_text", "kept"),
    [
        (" a b \r\n", "a b"),
        ("a\r\nb\nc", "a\nb\nc"),
        ("\u3000a\u00a0", "a"),
        ("e\u0301", "e\u0301"),
        ("\x00a", "\x00a"),
        (" | a : b : c ", " | a : b : c"),
        ("| a : b", "| a : b"),
    ],
)
def test_only_outer_white_space_and_line_ends_change(given_text: str, kept: str) -> None:
    assert trim_text(given_text) == kept


@given(st.text())
def test_trimming_twice_changes_nothing_more(text: str) -> None:
    assert trim_text(trim_text(text)) == trim_text(text)
    assert has_visible_text(trim_text(text)) == has_visible_text(text)
