from itertools import islice

import numpy as np
import pytest
import torch

from components.builtin.corpus import generate_batches, generate_texts
from components.builtin.pretraining.gpt2 import (
    PretrainingConfig,
    compute_weighted_loss,
    pretrain,
    save_base,
    train_tokenizer,
)

RECIPE = PretrainingConfig(layers=1, hidden=16, heads=2, context=64, steps=6, warmup_steps=1)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(islice(generate_texts(1), 200), 400)


def run(tokenizer, state, steps=None, log=lambda *_: None):
    batches = generate_batches(tokenizer, seed=0, batch_size=2, length=32)
    batches = batches if steps is None else islice(batches, steps)
    return pretrain(batches, tokenizer.get_vocab_size(), 0, RECIPE, log, state=state, log_every=2)


def test_a_stopped_run_resumes_and_ends_with_the_same_weights(tokenizer, tmp_path):
    whole = run(tokenizer, tmp_path / "a.pt")
    with pytest.raises(StopIteration):
        run(tokenizer, tmp_path / "b.pt", steps=5)
    logged_steps = []
    resumed = run(tokenizer, tmp_path / "b.pt", log=lambda step, *_: logged_steps.append(step))
    assert logged_steps == [6]
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_the_loss_is_the_weighted_mean():
    torch.manual_seed(0)
    head = torch.nn.Linear(4, 7, bias=False)
    hidden, ids = torch.randn(2, 3, 4), torch.randint(7, (2, 3))
    weights = torch.tensor([[1.0, 0.0, 0.5], [0.0, 1.0, 1.0]])
    losses = -torch.log_softmax(head(hidden), -1).gather(-1, ids[..., None])[..., 0]
    assert torch.allclose(compute_weighted_loss(hidden, head, ids, weights), (losses * weights).sum() / weights.sum())


def test_every_digit_is_a_token_and_decoding_restores_the_text(tokenizer):
    ids = tokenizer.encode(" 1492 pounds, Österreich!").ids
    assert tokenizer.decode(ids) == " 1492 pounds, Österreich!"
    assert len(tokenizer.encode("1492").ids) == 4


def test_a_saved_base_loads_with_transformers(tokenizer, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = run(tokenizer, tmp_path / "a.pt")
    save_base(model, tokenizer, tmp_path / "base")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    assert loaded.config.n_head == 2
    assert AutoTokenizer.from_pretrained(tmp_path / "base")("a b")["input_ids"] == tokenizer.encode("a b").ids
    assert np.isfinite(loaded(torch.tensor([[1, 2, 3]])).logits.detach().float().numpy()).all()
