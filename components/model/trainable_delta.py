"""The trainable form of a delta, for every method: its parameters, their initial values, and the delta they make.

Knows the methods by their parts. Does not know optimizers, steps, data or files.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from components.config import TrainConfig
from components.errors import BaseModelError, ConfigError
from components.model.base.load import Base
from components.model.base.shapes import StateKey
from components.model.base.tensor_parallel import check_whole
from components.model.delta import SLOT_METHODS, Delta, make_weights_config
from components.model.prefix.first_slot import find_bos_slot_id
from components.model.prefix.initial_states import name_states
from components.model.prefix.initialization import (
    check_init_text,
    embed_tokens,
    make_initial_prefix,
    make_initial_prompt,
    make_token_prefix,
)
from components.model.prefix.module import PrefixModule, PromptModule
from components.model.prefix.prefix import Prefix
from components.model.text.demonstrations import Demonstrations
from components.model.weights import TrainableWeights, make_trainable_weights

TextPairs = Sequence[tuple[str, str]]


def count_slots(config: TrainConfig, shared: Prefix | None = None) -> int:
    """Return the number of slots of `config`, shared ones included: positions of a decoder-only base's context."""
    own = config.prefix_length if config.method in SLOT_METHODS else 0
    return own + (shared.length if shared else 0)


class TrainableDelta(nn.Module):
    """A method's parameters, on the base's device; `in-context` has none."""

    def __init__(self, base: Base, config: TrainConfig, text: str, shared: Prefix | None, pairs: TextPairs) -> None:
        """Initialise as `config` says, from `text` for slots that start from words; `pairs` are the demonstrations.

        With `shared`, the own slots come after the shared ones; these are trained too with `shared_training: joint`.
        With `first_slot: bos` slot 0, the first of the shared ones if there are any, is that of BOS and not trained.

        Raises:
            ConfigError: the slots fill the context, the method has no prefix to put after shared slots, `text` has no
                token or `train.init_text` more than slots, or there is no slot for BOS.
            BaseModelError: the base does not support the method.
        """
        super().__init__()
        method, length, seed = config.method, config.prefix_length, config.seed
        infix = method == "infix"
        if method == "embedding" or make_weights_config(config) is not None:
            check_whole(base.model, f"train.method: {method}")
        if shared is not None and (method not in SLOT_METHODS or method in ("infix", "embedding")):
            raise ConfigError("a method with a prefix, for train.shared", method, "leave train.shared out")
        if config.initial_state and (method not in SLOT_METHODS or method in ("infix", "embedding")):
            wanted = "a method with a prefix before the source, for train.initial_state"
            raise ConfigError(wanted, method, "set train.initial_state: false, or train.method: prefix")
        if count_slots(config, shared) >= base.context:
            got = f"{count_slots(config, shared)} of {base.context} positions"
            raise ConfigError("slots that leave room in the context", got, "set a smaller train.prefix_length")
        bos_id = find_bos_slot_id(base, config)
        self.frozen_prefix: Prefix | None = None
        self.frozen_prompt_PW: Tensor | None = None
        if bos_id is not None and shared is None:
            length -= 1
        self.slots: PrefixModule | None = None
        self.prompt: PromptModule | None = None
        self.weights: TrainableWeights | None = None
        self.demonstrations: Demonstrations | None = None
        initialization = config.initialization
        if method in SLOT_METHODS and initialization == "text" and config.init_text:
            check_init_text(base, text, length)
        if method == "embedding":
            if bos_id is not None:
                self.frozen_prompt_PW = embed_tokens(base, [bos_id])
            self.prompt = PromptModule(
                base.model.get_input_embeddings().weight.shape[1], length, config.mlp_hidden, seed=seed
            )
            self.prompt.load_values(make_initial_prompt(base, length, initialization, text, seed))
        elif method in SLOT_METHODS:
            start = make_initial_prefix(base, length, initialization, text, seed, infix=infix, bos_id=bos_id)
            if shared is None:
                self.frozen_prefix = None if bos_id is None else make_token_prefix(base, [bos_id])
            elif config.shared_training == "frozen":
                self.frozen_prefix = shared
            else:
                self.frozen_prefix = None if bos_id is None else shared.keep_slots(1)
                start = Prefix.join(shared.drop_slots(self.frozen_length), start)
            sizes = _find_state_sizes(base, config)
            self.slots = PrefixModule(base.shape, start.length, config.mlp_hidden, seed=seed, infix=infix, states=sizes)
            zeros = {key: torch.zeros(one) for key, one in sizes.items()}
            self.slots.load_values(Prefix(start.tensors | name_states(zeros)))
        if (weights_config := make_weights_config(config)) is not None:
            self.weights = make_trainable_weights(base.model, weights_config)
        if method == "in-context":
            self.demonstrations = Demonstrations(
                tuple(pairs), config.demonstrations, config.demonstration_choice, config.seed
            )
        self.to(base.device)

    @property
    def frozen_length(self) -> int:
        """The number of slots at the front that are not trained: those of a frozen shared prefix, or that of BOS."""
        if self.frozen_prefix is not None:
            return self.frozen_prefix.length
        return 0 if self.frozen_prompt_PW is None else len(self.frozen_prompt_PW)

    @property
    def is_trainable(self) -> bool:
        """Whether a training step can change the delta: it has weights, a state, or a slot of its own."""
        slots = self.prompt if self.slots is None else self.slots
        has_states = self.slots is not None and len(self.slots.states) > 0
        return self.weights is not None or has_states or (slots is not None and slots.length > 0)

    def make_delta(self) -> Delta:
        """Return the delta of the present parameters; gradients flow back to them."""
        return Delta(
            prefix=self._prepend_frozen_prefix(self.slots.make_prefix()) if self.slots else None,
            prompt_PW=self._prepend_frozen_prompt(self.prompt.make_prompt()) if self.prompt else None,
            weights=self.weights.get_weights() if self.weights else None,
            demonstrations=self.demonstrations,
            frozen_length=self.frozen_length,
        )

    @torch.no_grad()
    def collapse(self) -> Delta:
        """Return the delta for an artifact: detached copies on the CPU, frozen slots included."""
        return Delta(
            prefix=self._prepend_frozen_prefix(self.slots.collapse()).to(device="cpu") if self.slots else None,
            prompt_PW=self._prepend_frozen_prompt(self.prompt.collapse()).cpu() if self.prompt else None,
            weights=self.weights.collapse() if self.weights else None,
            demonstrations=self.demonstrations,
            frozen_length=self.frozen_length,
        )

    def load(self, delta: Delta) -> None:
        """Set the parameters to a trained delta of the same method and sizes.

        Raises:
            BaseModelError: the delta has another method or size; the message names the difference.
        """
        theirs, ours = (
            {
                "slots": one.prefix is not None,
                "a soft prompt": one.prompt_PW is not None,
                "weights": one.weights is not None,
            }
            for one in (delta, self.make_delta())
        )
        if theirs != ours:
            wanted, got = (", ".join(part for part, is_held in side.items() if is_held) for side in (ours, theirs))
            raise BaseModelError(f"a delta with {wanted or 'nothing'}", got or "nothing", "start from the same method")
        if self.slots is not None and delta.prefix is not None:
            self.slots.load_values(delta.prefix.drop_slots(self.frozen_length))
        if self.prompt is not None and delta.prompt_PW is not None:
            self.prompt.load_values(delta.prompt_PW[self.frozen_length :])
        if self.weights is not None and delta.weights is not None:
            self.weights.load(delta.weights)

    def _prepend_frozen_prefix(self, own: Prefix) -> Prefix:
        if self.frozen_prefix is None:
            return own
        first = next(iter(own.tensors.values()))
        return Prefix.join(self.frozen_prefix.to(first.dtype, first.device), own)

    def _prepend_frozen_prompt(self, own_PW: Tensor) -> Tensor:
        if self.frozen_prompt_PW is None:
            return own_PW
        return torch.cat([self.frozen_prompt_PW.to(own_PW.device, own_PW.dtype), own_PW])


def _find_state_sizes(base: Base, config: TrainConfig) -> dict[StateKey, tuple[int, ...]]:
    """Return the sizes of the initial states to train; none without `train.initial_state`."""
    if not config.initial_state:
        return {}
    from components.model.base.recurrent_states import find_state_shapes

    return {key: shape.sizes for key, shape in find_state_shapes(base.model).items()}
