from itertools import count, islice

import numpy as np
import pytest
import torch

from components.model.pretraining_seq2seq import (
    END_ID,
    PAD_ID,
    SPECIAL,
    START_ID,
    Seq2SeqRecipe,
    loss_of,
    new_bart,
    pretrain_seq2seq,
    save_bart,
    train_bart_tokenizer,
)

RECIPE = Seq2SeqRecipe(layers=1, hidden=16, heads=2, feed_forward=16, positions=32, warmup_steps=1)
VOCABULARY = 12


def batches():
    for number in count():
        drawn = np.random.default_rng(number).integers(len(SPECIAL), VOCABULARY, (4, 6))
        drawn[:, 0], drawn[:, -1] = START_ID, END_ID
        yield drawn, drawn


@pytest.fixture(scope="module")
def tokenizer():
    return train_bart_tokenizer(iter(["#Person1#: It cost 42 pounds. #Person2#: Did it?\n#Person2#: No."] * 50), 330)


def test_the_loss_falls_until_the_minutes_are_over(tmp_path):
    losses = []
    model, steps = pretrain_seq2seq(
        batches(), VOCABULARY, RECIPE, lambda _, loss, __: losses.append(loss), tmp_path / "s.pt", minutes=0.03, every=5
    )
    assert steps > 10
    assert losses[-1] < losses[0]
    assert not model.training
    assert not (tmp_path / "s.pt").exists()


def test_a_stopped_run_goes_on_from_its_step_and_its_seconds(tmp_path):
    state = tmp_path / "s.pt"
    with pytest.raises(StopIteration):
        pretrain_seq2seq(islice(batches(), 7), VOCABULARY, RECIPE, lambda *_: None, state, minutes=60, every=3)
    kept = torch.load(state, weights_only=True)
    assert kept["step"] == 6
    with pytest.raises(StopIteration):
        pretrain_seq2seq(islice(batches(), 6), VOCABULARY, RECIPE, lambda *_: None, state, minutes=60, every=3)
    model, steps = pretrain_seq2seq(
        batches(), VOCABULARY, RECIPE, lambda *_: None, state, minutes=kept["seconds"] / 60, every=3
    )
    assert steps == 6
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, kept["model"][name]), name


def test_the_loss_is_what_transformers_gives():
    torch.manual_seed(0)
    model = new_bart(VOCABULARY, RECIPE).eval()
    sources, targets = (torch.from_numpy(part) for part in next(batches()))
    targets[0, 3:] = torch.tensor([END_ID, PAD_ID, PAD_ID])
    labels = targets.masked_fill(targets == PAD_ID, -100)
    expected = model(input_ids=sources, attention_mask=(sources != PAD_ID).long(), labels=labels).loss
    assert torch.allclose(loss_of(model, sources, targets), expected, atol=1e-6)


def test_speakers_and_digits_are_single_tokens_and_text_comes_back(tokenizer):
    row = tokenizer.encode("#Person1#: 42 x #Person2#")
    assert (row.ids[0], row.ids[-1]) == (START_ID, END_ID)
    assert {"#Person1#", "Ġ#Person2#", "Ġ4", "2"} <= set(row.tokens)
    assert tokenizer.decode(row.ids) == "#Person1#: 42 x #Person2#"


def test_what_is_saved_loads_with_transformers(tokenizer, tmp_path):
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    torch.manual_seed(0)
    model = new_bart(tokenizer.get_vocab_size(), RECIPE).eval()
    save_bart(model, tokenizer, tmp_path)
    words = AutoTokenizer.from_pretrained(tmp_path)
    loaded = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    batch = words(["#Person1#: a <mask> b", "c"], padding=True, return_tensors="pt")
    assert batch["input_ids"][0].tolist().count(words.mask_token_id) == 1
    assert batch["attention_mask"].tolist()[1].count(0) > 0
    assert torch.equal(loaded(**batch, labels=batch["input_ids"]).loss, model(**batch, labels=batch["input_ids"]).loss)
    written = loaded.generate(**batch, max_new_tokens=4)
    assert written[0, :2].tolist() == [END_ID, START_ID]
