from random import Random

import pytest

from components.builtin.domains import DOMAINS
from components.builtin.styles import choose_article, make_framed_style, make_linearisation, make_phrased_style

RECORD = [("name", "Zelkin"), ("food", "Ostravian"), ("area", "Quellham")]


@pytest.mark.parametrize("seed", range(20))
def test_a_style_states_every_value_and_is_the_same_for_every_record(seed):
    write = make_framed_style([key for key, _ in RECORD], Random(seed))
    text = write(RECORD)
    assert all(value[1:] in text for _, value in RECORD)
    other = write([(key, value[::-1]) for key, value in RECORD]).lower()
    for _, value in RECORD:
        other = other.replace(value[::-1].lower(), value.lower())
    assert other == text.lower()


@pytest.mark.parametrize("domain", DOMAINS, ids=lambda domain: domain.noun)
def test_a_phrased_style_states_every_value(domain):
    record = [(domain.name_key, "Zelkin"), *((one.key, f"value{n}") for n, one in enumerate(domain.attributes))]
    for seed in range(10):
        text = make_phrased_style(domain, Random(seed))(record)
        assert all(value in text for _, value in record)


@pytest.mark.parametrize("seed", range(20))
def test_a_linearisation_contains_every_value(seed):
    assert all(value in make_linearisation(Random(seed))(RECORD) for _, value in RECORD)


def test_the_article_depends_on_the_first_letter():
    assert [choose_article(noun) for noun in ("inn", "pub")] == ["an", "a"]
