"""Initial weights of a small BART that already copy its source, so that training need not discover how.

The first half of the channels holds positions as sinusoids, the second half the tokens' random embeddings. Two heads
of the encoder's first layer look at the next position and write its token into the first half; two cross heads of the
decoder's last layer look for the token just written and read from there what followed it. Everything else starts as
transformers starts it. After the shape that trained attention has (Trockman and Kolter, arXiv:2305.09828).
Shapes: C channels, D head size, N positions.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

POSITION_SHARPNESS, TOKEN_SHARPNESS = 1.5, 1.1
STANDARD_DEVIATION = 0.02


@torch.no_grad()
def wire_copying(model: Any) -> None:
    """Set the weights named above in a `BartForConditionalGeneration` with at least two heads; in place."""
    encoder, decoder = model.model.encoder, model.model.decoder
    half, size = model.config.d_model // 2, model.config.d_model // model.config.encoder_attention_heads
    frequencies = _frequencies(half // 2)
    model.model.shared.weight[:, :half] *= 0.5
    for part in (encoder, decoder):
        positions_NC = part.embed_positions.weight
        positions_NC.zero_()
        positions_NC[:, :half] = _sinusoids(len(positions_NC), frequencies)
    turn_CC = _turn(frequencies)
    pairs = min(2, half // size)
    first, cross = encoder.layers[0].self_attn, decoder.layers[-1].encoder_attn
    for head in range(pairs):
        rows = slice(head * size, (head + 1) * size)
        here, there = slice(head * size, (head + 1) * size), slice(half + head * size, half + (head + 1) * size)
        _set(first.q_proj, rows, slice(0, half), POSITION_SHARPNESS * turn_CC[here])
        _set(first.k_proj, rows, here, POSITION_SHARPNESS * torch.eye(size))
        _set(first.v_proj, rows, there, torch.eye(size))
        _set(first.out_proj, here, rows, torch.eye(size))
        _set(cross.q_proj, rows, there, TOKEN_SHARPNESS * torch.eye(size))
        _set(cross.k_proj, rows, there, TOKEN_SHARPNESS * torch.eye(size))
        _set(cross.v_proj, rows, here, torch.eye(size))
        _set(cross.out_proj, there, rows, torch.eye(size))


def _set(linear: nn.Linear, rows: slice, columns: slice, block: Tensor) -> None:
    linear.weight[rows, columns] += block


def _frequencies(count: int) -> Tensor:
    """Spread over (0, pi) and mixed, so that any part of them tells one position from all others."""
    even = math.pi * (torch.arange(count) + 0.5) / count
    return even[torch.randperm(count, generator=torch.Generator().manual_seed(0))]


def _sinusoids(positions: int, frequencies: Tensor) -> Tensor:
    """Channels [N, C/2]: pairs of sine and cosine, with the tokens' standard deviation."""
    angles = torch.arange(positions)[:, None] * frequencies
    return math.sqrt(2) * STANDARD_DEVIATION * torch.stack((angles.sin(), angles.cos()), -1).flatten(1)


def _turn(frequencies: Tensor) -> Tensor:
    """The matrix [C/2, C/2] that takes a position's channels to those of the next one."""
    turn = torch.zeros(2 * len(frequencies), 2 * len(frequencies))
    even = torch.arange(0, len(turn), 2)
    odd = even + 1
    turn[even, even] = turn[odd, odd] = frequencies.cos()
    turn[even, odd] = frequencies.sin()
    turn[odd, even] = -frequencies.sin()
    return turn
