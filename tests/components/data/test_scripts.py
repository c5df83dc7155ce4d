import pytest

from components.data.scripts import measure_scripts


@pytest.mark.parametrize(
    ("text", "scripts"),
    [
        ("abc \u00e9", ["Latin"]),
        ("\u0434\u043e\u043c dom x", ["Latin", "Cyrillic"]),
        ("\u4e2d\u6587\u5b57a", ["Han", "Latin"]),
        ("\u3072\u3089\u30ab", ["Hiragana", "Katakana"]),
        ("\ud55c\uae00", ["Hangul"]),
        ("1\u00ba caf\u00e9 \u00aa \uff21", ["Latin"]),
        ("\uff76\uff85 \uffa1", ["Katakana", "Hangul"]),
        ("12 - !", []),
    ],
)
def test_letters_are_counted_by_script(text: str, scripts: list[str]) -> None:
    shares = measure_scripts([text])
    assert sorted(shares) == sorted(scripts)
    assert sum(shares.values()) == pytest.approx(1.0 if scripts else 0.0)
