"""The signs of a broken model in an answer's text."""

import pytest

from components.rollout.policy.answer_health import AnswerHealth, assess_answer


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_an_answer_of_white_space_is_empty(text):
    assert assess_answer(text, is_cut=False) == AnswerHealth(empty=True, repeated=False, over_long=False)


@pytest.mark.parametrize(
    "text",
    [
        "no no no no no no",
        "The pub is nice. It is cheap. It is cheap. It is cheap.",
        "a b c d a b c d a b c d a b",
        "这家酒吧很好。很便宜，很便宜，很便宜，",
        "このカフェは駅の近くにあります。" * 3,
        "ร้านนี้ราคาถูกราคาถูกราคาถูก",
    ],
)
def test_a_loop_at_the_end_is_repeated(text):
    assert assess_answer(text, is_cut=True) == AnswerHealth(empty=False, repeated=True, over_long=True)


@pytest.mark.parametrize(
    "text",
    [
        "no no no",
        "it is what it is and what it is it is not",
        "a b c d a b c d and then it ends well",
        "a a b b c c d d",
        "这家酒吧很好，很便宜，离河边很近。",
        "ร้านกาแฟนี้อยู่ใกล้แม่น้ำและราคาถูก",
    ],
)
def test_repeated_words_are_not_always_a_loop(text):
    assert not assess_answer(text, is_cut=False).repeated
