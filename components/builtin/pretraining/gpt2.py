"""Train a small GPT-2 from random weights on a stream of token rows. Knows no text and no tenant.

Muon updates the layers' matrices, AdamW the embeddings, biases and norms; both follow one linear schedule. The same
seed and the same rows give the same weights on the same machine.

Shapes: B batch rows, T tokens, C hidden size, N predicted tokens, V vocabulary.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from components.builtin.pretraining.chat_format import CHAT_TEMPLATE, CHAT_TEMPLATE_FILE


@dataclass(frozen=True, kw_only=True)
class PretrainingConfig:
    """Shape and schedule of a pretraining run."""

    layers: int = 4
    hidden: int = 256
    heads: int = 8
    context: int = 512
    steps: int = 2600
    matrix_learning_rate: float = 0.02
    other_learning_rate: float = 3e-3
    weight_decay: float = 0.05
    warmup_steps: int = 60
    seed: int = 0


def pretrain(
    rows: Iterator[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]],
    vocabulary_size: int,
    end_id: int,
    config: PretrainingConfig,
    log: Callable[[int, float, float], None],
    state: Path,
    log_every: int = 50,
) -> Any:
    """Train on `config.steps` batches of (ids [B, T], weights [B, T]) and return the model in float32.

    Every `log_every` steps it calls `log(step, mean loss of these steps, seconds since the start)` and saves the
    training to the file `state`. If `state` exists and has the same config, training resumes from it: the batches that
    were trained on before are read from `rows` and skipped. Uses a GPU if there is one.
    """
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(config.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=vocabulary_size,
            n_positions=config.context,
            n_embd=config.hidden,
            n_layer=config.layers,
            n_head=config.heads,
            activation_function="gelu_pytorch_tanh",
            bos_token_id=end_id,
            eos_token_id=end_id,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
        )
    ).to(device)
    optimizers = make_optimizers(model, config)
    first_step = restore_state(state, config, model, optimizers)
    started, losses = time.monotonic(), []
    for _ in range(first_step):
        next(rows)
    for step in range(first_step, config.steps):
        ids_BT, weights_BT = (torch.from_numpy(part).to(device) for part in next(rows))
        scale = min(1.0, (step + 1) / config.warmup_steps) * max(0.02, 1.0 - step / config.steps)
        with torch.autocast(device, torch.bfloat16):
            hidden_BTC = model.transformer(ids_BT).last_hidden_state
            loss = compute_weighted_loss(hidden_BTC[:, :-1], model.lm_head, ids_BT[:, 1:], weights_BT[:, 1:])
        step_optimizers(loss, model, optimizers, scale)
        losses.append(loss.item())
        if (step + 1) % log_every == 0:
            log(step + 1, float(np.mean(losses)), time.monotonic() - started)
            losses.clear()
            save_state(state, config, step + 1, model, optimizers)
    state.unlink(missing_ok=True)
    return model.float().cpu().eval()


def compute_weighted_loss(hidden_BTC: Tensor, head: nn.Module, ids_BT: Tensor, weights_BT: Tensor) -> Tensor:
    """Return the weighted mean cross-entropy in nats; positions of weight 0 are not computed at all."""
    kept = weights_BT > 0
    logits_NV = head(hidden_BTC[kept])
    losses_N = nn.functional.cross_entropy(logits_NV.float(), ids_BT[kept], reduction="none")
    weights_N = weights_BT[kept]
    return (losses_N * weights_N).sum() / weights_N.sum()


def train_tokenizer(texts: Iterator[str], vocabulary_size: int) -> Any:
    """Train a byte-level BPE with `<eos>` and `<pad>`. Every digit is a token: numbers are copied digit by digit."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=["<eos>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def save_base(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write bfloat16 weights, configuration, tokenizer (a `tokenizers.Tokenizer`) and chat template."""
    from transformers import PreTrainedTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    special = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<eos>") | {"pad_token": "<pad>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    (folder / CHAT_TEMPLATE_FILE).write_text(CHAT_TEMPLATE, encoding="utf-8")


Optimizers = list[tuple[torch.optim.Optimizer, float]]
"""Optimizers, each with its learning rate at scale 1."""
_LAYER_NAME_PART = ".h."
"""Part of the name of every parameter inside GPT-2's layers."""


def make_optimizers(model: nn.Module, config: PretrainingConfig) -> Optimizers:
    """Make Muon for the matrices of the layers and AdamW for all other parameters."""
    named = list(model.named_parameters())
    matrices = [p for name, p in named if p.dim() == 2 and _LAYER_NAME_PART in name]
    embeddings = [p for name, p in named if p.dim() == 2 and _LAYER_NAME_PART not in name]
    vectors = [p for _, p in named if p.dim() < 2]
    muon = torch.optim.Muon(
        matrices, lr=config.matrix_learning_rate, weight_decay=config.weight_decay, momentum=0.95, ns_steps=4
    )
    groups = [{"params": embeddings, "weight_decay": 0.0}, {"params": vectors, "weight_decay": 0.0}]
    adamw = torch.optim.AdamW(groups, lr=config.other_learning_rate, betas=(0.9, 0.95), fused=True)
    return [(muon, config.matrix_learning_rate), (adamw, config.other_learning_rate)]


def step_optimizers(loss: Tensor, model: nn.Module, optimizers: Optimizers, learning_rate_scale: float) -> None:
    """Take one optimizer step: gradients clipped to norm 1, learning rates multiplied by `learning_rate_scale`."""
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer, rate in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate * learning_rate_scale
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def save_state(state: Path, config: PretrainingConfig, step: int, model: nn.Module, optimizers: Optimizers) -> None:
    """Save what a stopped run needs to resume; the file is replaced atomically."""
    state.parent.mkdir(parents=True, exist_ok=True)
    temporary = state.with_suffix(".tmp")
    parts = [optimizer.state_dict() for optimizer, _ in optimizers]
    saved = {"recipe": asdict(config), "step": step, "model": model.state_dict(), "optimizers": parts}
    torch.save(saved, temporary)
    temporary.replace(state)


def restore_state(state: Path, config: PretrainingConfig, model: nn.Module, optimizers: Optimizers) -> int:
    """Load a saved state of the same config and return its step; 0 if there is none."""
    if not state.exists():
        return 0
    saved = torch.load(state, weights_only=True)
    if saved["recipe"] != asdict(config):
        return 0
    model.load_state_dict(saved["model"])
    for (optimizer, _), part in zip(optimizers, saved["optimizers"], strict=True):
        optimizer.load_state_dict(part)
    return int(saved["step"])
