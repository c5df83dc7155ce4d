"""Attached prefixes against GPT-2 and Llama written with plain attention."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from components.model.prefix.attach import attach_prefixes
from components.model.prefix.prefix import Prefix

PrefixFor = Callable[..., Prefix]
CLOSE = {"rtol": 0.0, "atol": 1e-5}


def attend(query_HTD: Tensor, key_HSD: Tensor, value_HSD: Tensor) -> Tensor:
    """Plain softmax attention of the last T of S positions, each seeing itself and everything before it."""
    heads, count, size = query_HTD.shape
    total = key_HSD.shape[1]
    out = torch.zeros_like(query_HTD)
    for head in range(heads):
        shared = head // (heads // key_HSD.shape[0])
        for step in range(count):
            seen = total - count + step + 1
            weights = torch.softmax(key_HSD[shared, :seen] @ query_HTD[head, step] / size**0.5, dim=0)
            out[head, step] = weights @ value_HSD[shared, :seen]
    return out


def gpt2_plain(model: Any, prefix: Prefix, ids: list[int]) -> Tensor:
    def norm(layer: Any, x: Tensor) -> Tensor:
        x = x - x.mean(-1, keepdim=True)
        return x / (x.pow(2).mean(-1, keepdim=True) + layer.eps).sqrt() * layer.weight + layer.bias

    def heads(x: Tensor) -> Tensor:
        return x.view(len(ids), 4, 8).transpose(0, 1)

    body = model.transformer
    x = body.wte.weight[ids] + body.wpe.weight[prefix.length : prefix.length + len(ids)]
    for index, block in enumerate(body.h):
        query, key, value = (norm(block.ln_1, x) @ block.attn.c_attn.weight + block.attn.c_attn.bias).split(32, dim=1)
        prefix_key, prefix_value = prefix.get_layer(index)
        out = attend(heads(query), torch.cat([prefix_key, heads(key)], 1), torch.cat([prefix_value, heads(value)], 1))
        x = x + out.transpose(0, 1).reshape(len(ids), 32) @ block.attn.c_proj.weight + block.attn.c_proj.bias
        wide = norm(block.ln_2, x) @ block.mlp.c_fc.weight + block.mlp.c_fc.bias
        wide = 0.5 * wide * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (wide + 0.044715 * wide**3)))
        x = x + wide @ block.mlp.c_proj.weight + block.mlp.c_proj.bias
    return norm(body.ln_f, x) @ body.wte.weight.T


def llama_plain(model: Any, prefix: Prefix, ids: list[int]) -> Tensor:
    def norm(layer: Any, x: Tensor) -> Tensor:
        return x / (x.pow(2).mean(-1, keepdim=True) + layer.variance_epsilon).sqrt() * layer.weight

    def rotate(x_HTD: Tensor) -> Tensor:
        half = x_HTD.shape[-1] // 2
        position = torch.arange(prefix.length, prefix.length + len(ids))[:, None]
        angle = position * 10000.0 ** (-torch.arange(half) / half)
        left, right = x_HTD[..., :half], x_HTD[..., half:]
        return torch.cat([left * angle.cos() - right * angle.sin(), right * angle.cos() + left * angle.sin()], -1)

    def heads(x: Tensor, count: int) -> Tensor:
        return x.view(len(ids), count, 8).transpose(0, 1)

    body = model.model
    x = body.embed_tokens.weight[ids]
    for index, block in enumerate(body.layers):
        attention, inside = block.self_attn, norm(block.input_layernorm, x)
        query = rotate(heads(inside @ attention.q_proj.weight.T, 4))
        key = rotate(heads(inside @ attention.k_proj.weight.T, 2))
        value = heads(inside @ attention.v_proj.weight.T, 2)
        prefix_key, prefix_value = prefix.get_layer(index)
        out = attend(query, torch.cat([prefix_key, key], 1), torch.cat([prefix_value, value], 1))
        x = x + out.transpose(0, 1).reshape(len(ids), 32) @ attention.o_proj.weight.T
        inside, mlp = norm(block.post_attention_layernorm, x), block.mlp
        gate = inside @ mlp.gate_proj.weight.T
        x = x + (gate * torch.sigmoid(gate) * (inside @ mlp.up_proj.weight.T)) @ mlp.down_proj.weight.T
    return norm(body.norm, x) @ model.lm_head.weight.T


PLAIN = {"gpt2": gpt2_plain, "llama": llama_plain}


def test_logits_equal_those_of_plain_attention(prefix_for: PrefixFor, model: Any) -> None:
    prefix = prefix_for(5)
    ids = torch.randint(2, 67, (1, 11), generator=torch.Generator().manual_seed(1))
    with attach_prefixes(model, [prefix]):
        logits = model(input_ids=ids).logits[0]
    torch.testing.assert_close(logits, PLAIN[model.config.model_type](model, prefix, ids[0].tolist()), **CLOSE)
