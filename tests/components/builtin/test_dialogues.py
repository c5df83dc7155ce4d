import re
from itertools import islice
from random import Random

import pytest

from components.builtin import dialogues
from components.builtin.damage import MASK
from components.builtin.dialogues import Material, Pairs, dialogue_of, texts, turns_of
from components.builtin.scenes import SCENES, SMALL_TALK
from components.builtin.slots import SLOTS, drawn

DIALOGUE = """#Person1#: Can you tell me the way to the library?
#Person2#: Sure. You can take bus number seven at the corner.
#Person1#: I lost my ticket for the bus.
#Person2#: Then you should buy another ticket."""
MATERIAL = Material(
    dialogues=[DIALOGUE],
    paragraphs=["It was a quiet morning. Nobody had seen the grey cat of the mill since the storm."] * 3,
    wordings=[("The inn is cheap. It lies by the river.", "By the river there is a cheap inn.")],
)


def test_the_same_seed_gives_the_same_pairs():
    first, second, other = (list(islice(Pairs(MATERIAL, Random(seed)), 40)) for seed in (1, 1, 2))
    assert first == second != other


def test_pairs_grow(monkeypatch):
    monkeypatch.setattr(dialogues, "GROWTH_PAIRS", 1000)
    lengths = [len(source) for source, _ in islice(Pairs(MATERIAL, Random(1)), 1500)]
    assert sum(lengths[:300]) < 0.8 * sum(lengths[-300:])


def test_masks_stand_in_sources_of_texts_to_restore_only():
    pairs = Pairs(MATERIAL, Random(3))
    for _ in range(100):
        source, target = pairs.restored()
        assert MASK in source
        assert MASK not in target
        for source, target in (pairs.reported(), pairs.scene(), pairs.retold()):
            assert MASK not in source + target
    assert not any(MASK in text for text in islice(texts(iter(pairs)), 200))


@pytest.mark.parametrize("seed", range(30))
def test_reported_lines_keep_the_words_of_the_dialogue(seed):
    source, target = Pairs(MATERIAL, Random(seed)).reported()
    assert turns_of(source)
    content = [word for word in re.findall(r"[a-z]{5,}", target) if word not in SAID]
    assert content
    assert all(word[:4] in source.lower() for word in content)


SAID = {"tells", "whether", "suggests", "about", "wants", "asks", "says"}


@pytest.mark.parametrize("seed", range(100))
def test_whoever_is_named_by_an_onlooker_is_named_in_the_scene(seed):
    source, target = Pairs(Material(), Random(seed)).scene()
    assert "{" not in source + target
    for speaker in re.findall(r"#Person\d#", target):
        assert f"{speaker}: " in source


def test_every_gap_has_values_and_every_exchange_three_parts():
    known = set(drawn(Random(0))) | {"a", "b"}
    for scene in (*SCENES, SMALL_TALK.strip()):
        assert set(re.findall(r"{(\w+)}", scene)) <= known
    for scene in SCENES:
        lines = scene.split("\n")
        assert [line.startswith("# ") for line in lines] == [False, True, True] * (len(lines) // 3)
    assert set(SLOTS) < known


def test_turns_come_back():
    assert dialogue_of(turns_of(DIALOGUE)) == DIALOGUE
    assert turns_of("#Person1#: Hi\nthere") == [("#Person1#", "Hi there")]
