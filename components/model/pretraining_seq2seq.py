"""Training a small BART from nothing on batches of token rows for so many minutes. Knows no text and no tenant.

Matrices are updated by Muon, embeddings, biases and norms by AdamW, as in `pretraining`. The learning rate falls with
the minutes used, so two runs of one seed differ in length on different machines.
Shapes: B rows, S source tokens, T target tokens, C channels.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from components.model.copying import wire_copying
from components.model.pretraining import descend, keep, optimizers_of, restore, weighted_loss

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
"""Special tokens in the order of their ids, which is BART's."""
START_ID, PAD_ID, END_ID = range(3)

Batch = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]
"""Source ids [B, S] and target ids [B, T], both `<s> ... </s>` and filled up with `<pad>`."""


@dataclass(frozen=True, kw_only=True)
class Seq2SeqRecipe:
    """Shape and learning rates of an encoder-decoder's pretraining."""

    layers: int = 2
    hidden: int = 256
    heads: int = 4
    feed_forward: int = 1024
    positions: int = 512
    matrix_learning_rate: float = 0.02
    other_learning_rate: float = 3e-3
    weight_decay: float = 0.02
    warmup_steps: int = 100
    seed: int = 0


def pretrain_seq2seq(
    batches: Iterator[Batch],
    vocabulary: int,
    recipe: Seq2SeqRecipe,
    log: Callable[[int, float, float], None],
    state: Path,
    *,
    minutes: float,
    every: int = 50,
) -> tuple[Any, int]:
    """Train for `minutes` of wall time; returns the model in float32 and the number of steps.

    `log(step, mean loss of the last `every` steps in nats a token, seconds of training)` reports progress; as often,
    `state` is written, and a run that was stopped goes on from it with the batches that it had not read. Fewer
    minutes than a state has used end the run at once. Uses a GPU where there is one.
    """
    torch.manual_seed(recipe.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = new_bart(vocabulary, recipe)
    wire_copying(model)
    model.to(device)
    optimizers = optimizers_of(model, recipe, inside=".layers.")
    step, used = restore(state, recipe, model, optimizers)
    for _ in range(step):
        next(batches)
    started, losses = time.monotonic() - used, []
    while (spent := (time.monotonic() - started) / (60 * minutes)) < 1.0:
        sources_BS, targets_BT = (torch.from_numpy(part).to(device) for part in next(batches))
        with torch.autocast(device, torch.bfloat16):
            loss = loss_of(model, sources_BS, targets_BT)
        descend(loss, model, optimizers, min(1.0, (step + 1) / recipe.warmup_steps) * max(0.02, 1.0 - spent))
        losses.append(loss.item())
        step += 1
        if step % every == 0:
            seconds = time.monotonic() - started
            log(step, float(np.mean(losses)), seconds)
            losses.clear()
            keep(state, recipe, step, seconds, model, optimizers)
    state.unlink(missing_ok=True)
    return model.float().cpu().eval(), step


def new_bart(vocabulary: int, recipe: Seq2SeqRecipe) -> Any:
    """A BART of the recipe's shape with random weights, without dropout."""
    from transformers import BartConfig, BartForConditionalGeneration

    model = BartForConditionalGeneration(
        BartConfig(
            vocab_size=vocabulary,
            d_model=recipe.hidden,
            encoder_layers=recipe.layers,
            decoder_layers=recipe.layers,
            encoder_attention_heads=recipe.heads,
            decoder_attention_heads=recipe.heads,
            encoder_ffn_dim=recipe.feed_forward,
            decoder_ffn_dim=recipe.feed_forward,
            max_position_embeddings=recipe.positions,
            dropout=0.0,
            attention_dropout=0.0,
            activation_dropout=0.0,
            bos_token_id=START_ID,
            pad_token_id=PAD_ID,
            eos_token_id=END_ID,
            decoder_start_token_id=END_ID,
        )
    )
    model.generation_config.update(forced_bos_token_id=START_ID, forced_eos_token_id=END_ID)
    return model


def loss_of(model: Any, sources_BS: torch.Tensor, targets_BT: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of the target's tokens in nats; the decoder reads `</s>` and then the target, as in BART."""
    starts_B1 = torch.full_like(targets_BT[:, :1], END_ID)
    hidden_BTC = model.model(
        input_ids=sources_BS,
        attention_mask=(sources_BS != PAD_ID).long(),
        decoder_input_ids=torch.cat([starts_B1, targets_BT[:, :-1]], dim=1),
        use_cache=False,
    ).last_hidden_state
    return weighted_loss(hidden_BTC, model.lm_head, targets_BT, (targets_BT != PAD_ID).float())


def train_bart_tokenizer(texts: Iterator[str], vocabulary: int) -> Any:
    """A byte-level BPE that sets `<s> ... </s>` round a text; digits stand alone, `#Person1#` is kept whole."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    words = r" ?#Person\d#|'(?:s|t|re|ve|m|ll|d)\b| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(words), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", START_ID), ("</s>", END_ID)]
    )
    return tokenizer


def save_bart(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write float32 weights, configuration and tokenizer (a `tokenizers.Tokenizer`) for transformers to load."""
    from transformers import PreTrainedTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    start, pad, end, unknown, mask = SPECIAL
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=start,
        cls_token=start,
        eos_token=end,
        sep_token=end,
        unk_token=unknown,
        pad_token=pad,
        mask_token=mask,
        model_max_length=model.config.max_position_embeddings,
    ).save_pretrained(folder)
