"""What of PrefixFleet works on a base, and how: training, decoding, serving, methods. Asks the parts that decide it."""

from dataclasses import dataclass
from textwrap import shorten
from typing import Literal

import torch

from components.errors import BaseModelError
from components.model.base.load import Base
from components.model.base.recurrent_states import find_state_shapes
from components.model.base.shapes import STATE_KINDS
from components.model.decoding.run_kinds import RowMode, can_share_cache, find_row_mode
from components.model.delta import compute_prompt_prefix
from components.model.packing import is_packable
from components.stages.progress import count_nouns

_MOST_REASON = 120
"""Letters of an error of transformers that are shown."""


@dataclass(frozen=True, slots=True)
class Support:
    """How a base is trained, decoded and served."""

    training: Literal["packed", "padded"]
    """The rows of a pass: end to end, or padded to one length."""
    decoding: RowMode
    beams: str
    serving: Literal["in blocks", "in groups"]
    """Whether the server adds and removes rows at every step, or computes groups of rows that start together."""
    missing_methods: dict[str, str]
    """Methods of `train.method` that do not work, and why."""
    initial_states: str
    """What `train.initial_state` trains, or why it is refused, for people."""


def find_support(base: Base) -> Support:
    """Return what works on a base.

    Raises:
        BaseModelError: prefixes cannot be attached to it.
    """
    shares = can_share_cache(base)
    return Support(
        training="packed" if is_packable(base.model) else "padded",
        decoding=find_row_mode(base),
        beams="beams of a row share one cache" if shares else "each beam has a cache of its own",
        serving="in blocks" if shares else "in groups",
        missing_methods=_find_missing_methods(base),
        initial_states=_describe_states(base),
    )


def _describe_states(base: Base) -> str:
    try:
        shapes = find_state_shapes(base.model)
    except BaseModelError as problem:
        return f"no: {problem.got.partition(': ')[2]}"
    kinds = " and ".join(kind for kind in STATE_KINDS if any(kind == one for _, one in shapes))
    values = sum(shape.size for shape in shapes.values())
    layers = count_nouns(len({layer for layer, _ in shapes}), "layer")
    return f"{kinds} states of {layers}, {values:,} values"


def _find_missing_methods(base: Base) -> dict[str, str]:
    if base.is_encoder_decoder:
        why = "needs a decoder-only base"
        return {"infix": why, "embedding": why}
    try:
        with torch.no_grad():
            compute_prompt_prefix(base, base.model.get_input_embeddings().weight[:1].float())
    except BaseModelError as problem:
        return {"embedding": shorten(problem.got.partition(": ")[2], _MOST_REASON, placeholder=" ...)")}
    return {}
