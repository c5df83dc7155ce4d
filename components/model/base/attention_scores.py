"""How a layer turns the products of queries and keys into weights: scale, soft cap, learned sinks; and its attention.

Knows the arguments of transformers' attention interface; does not know prefixes, caches or how masks are made.

Shapes: B batch rows, X query heads, H key/value heads, G = X / H, T query tokens, S keys, D head size.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad


@dataclass(frozen=True, slots=True)
class ScoreRule:
    """The rule of one attention call."""

    scale: float
    softcap: float | None = None
    """Scores become cap * tanh(score / cap); None: no cap."""
    sink_X: Tensor | None = None
    """For each head the score of a key that has no value and takes a share of the softmax; None: none."""

    @classmethod
    def from_call(cls, head_dim: int, kwargs: Mapping[str, Any]) -> "ScoreRule":
        """Return the rule of a call with these keyword arguments."""
        scale, softcap = kwargs.get("scaling"), kwargs.get("softcap")
        return cls(
            head_dim**-0.5 if scale is None else float(scale),
            None if softcap is None else float(softcap),
            kwargs.get("s_aux"),
        )

    @property
    def is_plain(self) -> bool:
        """Whether weights are the softmax of scaled products."""
        return self.softcap is None and self.sink_X is None

    def cap(self, score: Tensor) -> Tensor:
        """Apply the soft cap to scaled products, in place."""
        return score if self.softcap is None else score.div_(self.softcap).tanh_().mul_(self.softcap)


def attend_with_mask(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any
) -> Tensor:
    """Return the output [B, T, X, D] of one attention call: query [B, X, T, D], key and value [B, H, S, D].

    As transformers' function for torch's attention, and also with a soft cap and sinks, for which `mask` is needed.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    rule = ScoreRule.from_call(query.shape[3], kwargs)
    if rule.is_plain:
        output: Tensor = sdpa_attention_forward(module, query, key, value, mask, **kwargs)[0]
        return output
    if mask is None:
        raise ValueError("wanted a mask for attention with a soft cap or sinks; got None")
    return attend_by_rule(query, key, value, mask, rule).transpose(1, 2).contiguous()


def attend_by_rule(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, rule: ScoreRule) -> Tensor:
    """Return the output [B, X, T, D]; `mask` broadcasts to [B, X, T, S]: True where a key is seen, or added to scores.

    The G query heads of a key/value head follow each other. The softmax is computed in float32.
    """
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    score = torch.matmul(query, key.transpose(2, 3)) * rule.scale
    if rule.softcap is not None:
        score = rule.softcap * torch.tanh(score / rule.softcap)
    score = score.masked_fill(~mask, torch.finfo(score.dtype).min) if mask.dtype == torch.bool else score + mask
    return torch.matmul(compute_weights(score, rule.sink_X).to(value.dtype), value)


def compute_weights(score: Tensor, sink_X: Tensor | None) -> Tensor:
    """Return the softmax [..., X, T, S] of scores, in float32, with a sink's share left out."""
    score = score.float()
    if sink_X is None:
        return score.softmax(dim=-1)
    wide = pad(score, (0, 1))
    wide[..., -1] = sink_X.float()[:, None]
    return wide.softmax(dim=-1)[..., :-1]
