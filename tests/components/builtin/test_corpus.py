from itertools import islice
from random import Random

import numpy as np
import pytest

from components.builtin.corpus import PairGenerator, generate_batches, generate_texts
from components.builtin.domains import DOMAINS
from components.builtin.pretraining.gpt2 import train_tokenizer
from components.builtin.tenants import BUILTIN_TENANTS


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(islice(generate_texts(1), 300), 600)


def test_at_least_eight_domains_with_several_phrasings_each():
    assert len(DOMAINS) >= 8
    for domain in DOMAINS:
        assert all(a.clauses and a.remarks for a in domain.attributes)


@pytest.mark.parametrize("seed", range(200))
def test_every_value_of_the_source_stands_in_the_target(seed):
    writer = PairGenerator(Random(seed))
    writer.linearise = lambda record: "\t".join(value for _, value in record)
    source, target = writer.generate_pair()
    for value in source.split("\t"):
        assert value[1:] in target


def test_same_seed_same_rows(tokenizer):
    first, second, other = (next(generate_batches(tokenizer, seed=s, batch_size=3, length=64)) for s in (5, 5, 6))
    assert np.array_equal(first.ids_BT, second.ids_BT)
    assert not np.array_equal(first.ids_BT, other.ids_BT)


def test_targets_count_in_the_loss_and_most_sources_do_not(tokenizer):
    batch = next(generate_batches(tokenizer, seed=5, batch_size=16, length=128))
    assert batch.ids_BT.shape == batch.weights_BT.shape == (16, 128)
    assert 0.3 < (batch.weights_BT == 1).mean() < 0.8


def test_the_tenants_domains_and_wordings_are_not_in_the_corpus():
    keys = {key for house in BUILTIN_TENANTS for key in house.value_sources}
    known = {a.key for domain in DOMAINS for a in domain.attributes} | {domain.noun for domain in DOMAINS}
    assert not {house.tenant for house in BUILTIN_TENANTS} & known
    assert len(keys - known) == len(keys)
    text = " ".join(islice(generate_texts(11), 5000)).lower()
    for house in BUILTIN_TENANTS:
        for part in house.wordings:
            for wording in part:
                for piece in wording.replace("}", "{").split("{")[::2]:
                    if len(piece.split()) >= 3:
                        assert piece.strip().lower() not in text
