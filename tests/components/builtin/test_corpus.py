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


@pytest.mark.parametrize("seed", range(200))
def test_the_target_contains_every_value_of_the_source(seed):
    pairs = PairGenerator(Random(seed))
    pairs.linearise = lambda record: "\t".join(value for _, value in record)
    source, target = pairs.generate_pair()
    for value in source.split("\t"):
        assert value[1:] in target


def test_the_same_seed_gives_the_same_rows(tokenizer):
    first, second, other = (next(generate_batches(tokenizer, seed=s, batch_size=3, length=64)) for s in (5, 5, 6))
    assert np.array_equal(first.ids_BT, second.ids_BT)
    assert not np.array_equal(first.ids_BT, other.ids_BT)


def test_targets_count_in_the_loss_and_most_sources_do_not(tokenizer):
    batch = next(generate_batches(tokenizer, seed=5, batch_size=16, length=128))
    assert batch.ids_BT.shape == batch.weights_BT.shape == (16, 128)
    assert 0.3 < (batch.weights_BT == 1).mean() < 0.8


def test_the_corpus_contains_no_domain_and_no_wording_of_a_tenant():
    keys = {key for builtin in BUILTIN_TENANTS for key in builtin.value_sources}
    known = {a.key for domain in DOMAINS for a in domain.attributes} | {domain.noun for domain in DOMAINS}
    assert not {builtin.tenant for builtin in BUILTIN_TENANTS} & known
    assert len(keys - known) == len(keys)
    text = " ".join(islice(generate_texts(11), 5000)).lower()
    for builtin in BUILTIN_TENANTS:
        for part in builtin.wordings:
            for wording in part:
                for piece in wording.replace("}", "{").split("{")[::2]:
                    if len(piece.split()) >= 3:
                        assert piece.strip().lower() not in text
