"""A tenant's values merged into the sections: the empty mapping, and lists."""

from components.config import Params
from components.config.merging import merge_values

SECTIONS = {
    "gate": {"floors": {"bleu": 40.0}, "min_slice": 7, "non_inferiority": [{"metric": "bleu"}]},
    "evaluate": {"banned": ["x"]},
    "rollout": {"margins": {"errors": 2.0}, "shadow": {"hours": 3.0}},
}


def test_an_empty_mapping_empties_only_mappings_whose_keys_the_user_chooses():
    assert merge_values(SECTIONS, {"gate": {"floors": {}}}, Params)["gate"]["floors"] == {}
    assert merge_values(SECTIONS, {"gate": {}, "rollout": {"margins": {}, "shadow": {}}}, Params) == SECTIONS


def test_lists_are_replaced():
    merged = merge_values(SECTIONS, {"evaluate": {"banned": []}, "gate": {"non_inferiority": []}}, Params)
    assert merged["evaluate"]["banned"] == []
    assert merged["gate"]["non_inferiority"] == []
    assert merged["gate"]["floors"] == {"bleu": 40.0}
