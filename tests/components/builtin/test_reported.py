import pytest

from components.builtin.reported import reported

SPEAKER, LISTENER = "#Person1#", "#Person2#"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("Can you help me?", "#Person1# asks #Person2# to help #Person1#."),
        ("Could you please open your bag?", "#Person1# asks #Person2# to open #Person2#'s bag."),
        ("Where do you live?", "#Person1# asks #Person2# where #Person2# lives."),
        ("Are you sure about the price?", "#Person1# asks #Person2# whether #Person2# is sure about the price."),
        ("Well, I want to buy a camera.", "#Person1# wants to buy a camera."),
        ("I'm tired of my job!", "#Person1# is tired of #Person1#'s job."),
        ("I don't like it.", "#Person1# doesn't like it."),
        ("How about a cup of tea?", "#Person1# suggests a cup of tea."),
        ("Let's go to our hotel.", "#Person1# suggests they go to their hotel."),
        ("You should see a doctor.", "#Person1# suggests #Person2# see a doctor."),
        ("I usually go by bus.", "#Person1# usually goes by bus."),
    ],
)
def test_a_line_is_told_from_outside(said, told):
    assert reported(SPEAKER, LISTENER, said) == told


@pytest.mark.parametrize("said", ["", "No problem.", "Oh, yes, of course!", "Thanks."])
def test_what_says_nothing_is_not_told(said):
    assert reported(SPEAKER, LISTENER, said) is None


def test_no_first_or_second_person_remains():
    told = reported("Anna", "Tom", "If you had told me, we would have sold my car and your house.")
    assert told is not None
    assert not {"you", "me", "we", "my", "your", "I"} & set(told.rstrip(".").split())
    assert "Anna's car and Tom's house" in told
