import torch

from components.model.copying import wire_copying
from components.model.pretraining_seq2seq import Seq2SeqRecipe, loss_of, new_bart

RECIPE = Seq2SeqRecipe(layers=1, hidden=256, heads=4, feed_forward=64, positions=64)


def wired():
    torch.manual_seed(0)
    model = new_bart(500, RECIPE).eval()
    ids = torch.randint(5, 500, (4, 40))
    with torch.no_grad():
        before = loss_of(model, ids, ids)
    wire_copying(model)
    return model, ids, before


def test_what_followed_a_token_in_the_source_is_foreseen_before_any_training():
    model, ids, before = wired()
    with torch.no_grad():
        assert loss_of(model, ids, ids) < before - 0.5
        logits = model(input_ids=ids, decoder_input_ids=ids).logits[:, :-1]
    followers = ids[:, 1:, None]
    better = (logits > logits.gather(-1, followers)).sum(-1)
    assert (better <= 1).float().mean() > 0.5


def test_the_first_heads_of_the_encoder_look_at_the_next_position():
    model, ids, _ = wired()
    model.set_attn_implementation("eager")
    with torch.no_grad():
        attention = model(input_ids=ids, decoder_input_ids=ids, output_attentions=True).encoder_attentions[0]
    for head in range(2):
        assert attention[:, head].diagonal(1, 1, 2).mean() > 0.8
