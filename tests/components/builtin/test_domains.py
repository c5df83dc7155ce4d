from components.builtin.domains import DOMAINS
from components.builtin.names import VALUE_GENERATORS


def test_at_least_eight_domains_with_clauses_and_remarks_for_each_attribute():
    assert len(DOMAINS) >= 8
    for domain in DOMAINS:
        assert all(attribute.clauses and attribute.remarks for attribute in domain.attributes)


def test_every_kind_of_value_has_a_generator():
    assert {domain.name_kind for domain in DOMAINS} <= set(VALUE_GENERATORS)
    assert {attribute.kind for domain in DOMAINS for attribute in domain.attributes} <= set(VALUE_GENERATORS)


def test_every_clause_and_remark_states_its_value():
    for domain in DOMAINS:
        for attribute in domain.attributes:
            for phrase in (*attribute.clauses, *attribute.remarks):
                assert "xyz" in phrase.format(v="xyz", n=domain.noun), phrase
