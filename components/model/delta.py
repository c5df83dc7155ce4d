"""A tenant's delta: what a method adds to the base (keys and values, a soft prompt, weights, or examples).

One forward of the base turns a soft prompt into a prefix: in a decoder-only model no token comes before the prompt, so
its keys and values never change. So rows with prefixes and rows with soft prompts can share a batch. All rows of a
batch have the same weights. Knows tensors by their names in an artifact; does not know files, training or decoding.

Shapes: B batch rows, P slots, W width of the token embeddings.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from components.config import Method, TrainConfig
from components.errors import ArtifactError, BaseModelError
from components.model.base.attention_sites import find_attention_layers, record_attention_calls, run_probe
from components.model.base.load import Base
from components.model.base.shapes import DECODER
from components.model.base.tensor_parallel import check_whole
from components.model.prefix.attach import Attachment, attach_prefixes
from components.model.prefix.prefix import Prefix
from components.model.text.demonstrations import Demonstrations
from components.model.text.texts import TextCodec
from components.model.weights import Weights, WeightsConfig, make_weights_from_tensors

PROMPT_TENSOR = "embedding.prompt"
EXAMPLES_TENSOR = "in-context.examples"
_PREFIX_TENSOR_STARTS = ("encoder.", "decoder.")
_WEIGHT_TENSOR_STARTS = ("weight.", "adapter.", "lora.")

SLOT_METHODS = frozenset({"prefix", "infix", "embedding", "prefix+adapter", "prefix+lora"})
"""Methods with `train.prefix_length` slots."""


@dataclass(frozen=True, eq=False)
class Delta:
    """The trained parts of one tenant. A method has one of the parts; a mixed method has two."""

    prefix: Prefix | None = None
    prompt_PW: Tensor | None = None
    weights: Weights | None = None
    demonstrations: Demonstrations | None = None
    frozen_length: int = 0
    """Number of slots at the front that were not trained here: those of a frozen shared prefix, or that of BOS."""

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All tensors, by their names in an artifact."""
        named: dict[str, Tensor] = {}
        if self.prefix is not None:
            named |= self.prefix.tensors
        if self.prompt_PW is not None:
            named[PROMPT_TENSOR] = self.prompt_PW
        if self.weights is not None:
            named |= self.weights.tensors
        if self.demonstrations is not None:
            named[EXAMPLES_TENSOR] = self.demonstrations.to_tensor()
        return named

    @property
    def parameter_count(self) -> int:
        """The number of trained values, without examples and frozen slots."""
        own = self.prefix.drop_slots(self.frozen_length).parameter_count if self.prefix is not None else 0
        own += self.prompt_PW[self.frozen_length :].numel() if self.prompt_PW is not None else 0
        return own + (self.weights.parameter_count if self.weights else 0)

    @property
    def length(self) -> int:
        """The number of slots of the prefix, infix or soft prompt."""
        if self.prompt_PW is not None:
            return int(self.prompt_PW.shape[0])
        return self.prefix.length if self.prefix else 0

    def compute_prefix(self, base: Base) -> Prefix | None:
        """Return the prefix, or compute it from the soft prompt (None if that is empty); gradients flow back."""
        if self.prompt_PW is None or not len(self.prompt_PW):
            return self.prefix
        return compute_prompt_prefix(base, self.prompt_PW)

    def make_text_codec(self, base: Base, new_tokens: int, *, leave_out_same: bool = False) -> TextCodec:
        """Make the codec of texts under this delta: with its demonstrations, leaving space for `new_tokens`."""
        if self.demonstrations is None:
            return base.text_codec
        budget = base.context if base.is_encoder_decoder else base.context - new_tokens
        return replace(
            base.text_codec,
            demonstrations=self.demonstrations,
            source_token_budget=budget,
            leave_out_same=leave_out_same,
        )

    def check_fits(self, base: Base) -> None:
        """Check that this delta fits `base`.

        Raises:
            BaseModelError: it does not; the message names the difference.
        """
        if self.prefix is not None:
            self.prefix.check_fits(base.shape)
        if self.prefix is not None and self.prefix.states:
            from components.model.base.recurrent_states import check_states

            check_states(base.model, {key: tuple(state.shape) for key, state in self.prefix.states.items()})
        if self.prefix is not None and self.prefix.is_infix and base.is_encoder_decoder:
            raise BaseModelError("a decoder-only base for an infix", type(base.model).__name__, "use its own base")
        if self.prompt_PW is not None:
            check_whole(base.model, "a soft prompt")
            width = base.model.get_input_embeddings().weight.shape[1]
            if self.prompt_PW.shape[1] != width or base.is_encoder_decoder:
                got = f"one of width {self.prompt_PW.shape[1]}"
                raise BaseModelError(f"a soft prompt for {type(base.model).__name__}, width {width}", got, _FIX)
        if self.weights is not None:
            self.weights.check_fits(base.model)


_FIX = "use the base that it was trained on"


def to_delta(one: "Delta | Prefix | None") -> Delta:
    """Turn a prefix, or None, into a delta; a delta is returned as it is."""
    if isinstance(one, Delta):
        return one
    return Delta(prefix=one)


def compute_prompt_prefix(base: Base, prompt_PW: Tensor) -> Prefix:
    """Compute a decoder-only base's keys and values of a soft prompt of at least one slot, at the context's start.

    Raises:
        BaseModelError: the base does not compute embeddings that are no token's.
    """
    embeds = prompt_PW.to(base.device, base.model.dtype)[None]
    layers = find_attention_layers(base.model)
    with record_attention_calls(base.model) as calls:
        run_probe(base.model.base_model, {"inputs_embeds": embeds, "use_cache": False})
    pairs = [(call.key[0], call.value[0]) for call in calls if not layers[call.module].is_shared]
    return Prefix.from_layers({DECODER: pairs})


@contextmanager
def apply_deltas(
    base: Base, rows: Sequence["Delta | Prefix | None"], starts_B: Tensor | None = None
) -> Iterator[Attachment | None]:
    """Inside, the base computes with one delta per batch row; see `attach_prefixes` for positions and `starts_B`.

    Raises:
        BaseModelError: a delta does not fit the base.
        ValueError: the rows have different weights.
    """
    deltas = [to_delta(row) for row in rows]
    weights = {id(delta.weights): delta.weights for delta in deltas}
    if len(weights) > 1:
        raise ValueError("wanted rows with the same weights in one batch; got different ones")
    (own,) = weights.values()
    by_id = {id(row): delta for row, delta in zip(rows, deltas, strict=True)}
    distinct = {key: delta.compute_prefix(base) for key, delta in by_id.items()}
    context: Any = nullcontext() if own is None else own.apply(base.model)
    with context, attach_prefixes(base.model, [distinct[id(row)] for row in rows], starts_B) as attachment:
        yield attachment


def make_weights_config(config: TrainConfig) -> WeightsConfig | None:
    """Return the weights' part of `config`; None for a method without weights."""
    kind = config.method.rpartition("+")[2]
    if kind not in ("full", "top-k", "adapter", "lora"):
        return None
    return WeightsConfig(
        kind=kind,  # type: ignore[arg-type]
        top_layers=config.top_layers,
        adapter_size=config.adapter_size,
        adapter_share=None if config.adapter_size else config.adapter_share,
        lora_rank=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_targets=None if config.lora_targets is None else tuple(config.lora_targets),
        seed=config.seed,
    )


def make_delta_from_tensors(method: Method, tensors: Mapping[str, Tensor], config: TrainConfig) -> Delta:
    """Make the delta from an artifact's tensors.

    Raises:
        ArtifactError: a tensor is unknown, missing, or belongs to another method.
    """
    slots = {name: tensor for name, tensor in tensors.items() if name.startswith(_PREFIX_TENSOR_STARTS)}
    weights = {name: tensor for name, tensor in tensors.items() if name.startswith(_WEIGHT_TENSOR_STARTS)}
    others = set(tensors) - set(slots) - set(weights)
    weights_config = make_weights_config(config)
    wanted = {
        "keys and values": method in ("prefix", "infix", "prefix+adapter", "prefix+lora"),
        "weights": weights_config is not None,
        PROMPT_TENSOR: method == "embedding",
        EXAMPLES_TENSOR: method == "in-context",
    }
    held = {
        "keys and values": bool(slots),
        "weights": bool(weights),
        PROMPT_TENSOR: PROMPT_TENSOR in others,
        EXAMPLES_TENSOR: EXAMPLES_TENSOR in others,
    }
    unknown = sorted(others - {PROMPT_TENSOR, EXAMPLES_TENSOR})
    if unknown or wanted != held:
        texts = [", ".join(part for part, is_held in side.items() if is_held) or "nothing" for side in (wanted, held)]
        got = f"tensor {unknown[0]!r}" if unknown else texts[1]
        raise ArtifactError(f"{texts[0]} for method {method}", got, "export it again")
    if PROMPT_TENSOR in others and tensors[PROMPT_TENSOR].dim() != 2:
        raise ArtifactError(
            f"{PROMPT_TENSOR} of [slots, width]", str(tuple(tensors[PROMPT_TENSOR].shape)), "export it again"
        )
    prefix = Prefix(slots) if slots else None
    if prefix is not None and (method == "infix") != prefix.is_infix:
        raise ArtifactError(f"tensors of method {method}", f"tensors of {', '.join(prefix.sites)}", "export it again")
    if config.initial_state != (prefix is not None and bool(prefix.states)):
        sides = "initial states of recurrent layers", "no initial states"
        needed, present = sides if config.initial_state else sides[::-1]
        raise ArtifactError(f"{needed}, as train.initial_state says", present, "export it again")
    return Delta(
        prefix=prefix,
        prompt_PW=tensors.get(PROMPT_TENSOR),
        weights=make_weights_from_tensors(weights, weights_config) if weights_config else None,
        demonstrations=Demonstrations.from_tensor(tensors[EXAMPLES_TENSOR]) if EXAMPLES_TENSOR in others else None,
        frozen_length=_count_frozen_slots(prefix, config),
    )


def _count_frozen_slots(prefix: Prefix | None, config: TrainConfig) -> int:
    """Return `Delta.frozen_length`. Raises ArtifactError if the prefix has fewer slots than `config` says."""
    if config.method not in SLOT_METHODS:
        return 0
    if prefix is None or config.shared is None or config.shared_training == "joint":
        return int(config.first_slot == "bos")
    frozen = prefix.length - config.prefix_length
    if frozen < 0:
        least = f"at least train.prefix_length = {config.prefix_length} slots after the shared ones"
        raise ArtifactError(least, f"{prefix.length} in all", "export it again")
    return frozen
