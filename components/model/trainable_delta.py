"""What is trained for a tenant, whichever the method: parameters, the delta that they make, and where they start.

Knows the methods by their parts. Does not know optimizers, steps, data or files.
"""

from collections.abc import Sequence

import torch
from torch import nn

from components.config import TrainConfig
from components.errors import BaseModelError, ConfigError
from components.model.base.load import Base
from components.model.delta import SLOT_METHODS, Delta, make_weights_config
from components.model.prefix.initialization import make_initial_prefix, make_initial_prompt
from components.model.prefix.module import PrefixModule, PromptModule
from components.model.prefix.prefix import Prefix
from components.model.text.demonstrations import Demonstrations
from components.model.weights import TrainableWeights, make_trainable_weights

TextPairs = Sequence[tuple[str, str]]


def count_slots(config: TrainConfig, shared: Prefix | None = None) -> int:
    """Positions that a decoder-only base's context loses to the slots of `config`, the shared ones included."""
    own = config.prefix_length if config.method in SLOT_METHODS else 0
    return own + (shared.length if shared else 0)


class TrainableDelta(nn.Module):
    """A method's parameters, on the base's device; without any for `in-context`."""

    def __init__(self, base: Base, config: TrainConfig, text: str, shared: Prefix | None, pairs: TextPairs) -> None:
        """Start as `config` says: `text` for slots that start from words, `pairs` to choose demonstrations from.

        With `shared` the own slots stand behind the shared ones, which are trained too where `shared_training` says so.

        Raises:
            ConfigError: the slots fill the context, a method has no slots to put behind shared ones, or no words.
            BaseModelError: the base cannot take the method.
        """
        super().__init__()
        method, length, seed = config.method, config.prefix_length, config.seed
        infix = method == "infix"
        if shared is not None and (method not in SLOT_METHODS or method in ("infix", "embedding")):
            raise ConfigError("a method with a prefix, for train.shared", method, "leave train.shared out")
        if count_slots(config, shared) >= base.context:
            got = f"{count_slots(config, shared)} of {base.context} positions"
            raise ConfigError("slots that leave room in the context", got, "set a smaller train.prefix_length")
        self.frozen_prefix = shared if shared is not None and config.shared_training == "frozen" else None
        self.slots: PrefixModule | None = None
        self.prompt: PromptModule | None = None
        self.weights: TrainableWeights | None = None
        self.demonstrations: Demonstrations | None = None
        initialization = config.initialization
        if method == "embedding":
            self.prompt = PromptModule(
                base.model.get_input_embeddings().weight.shape[1], length, config.mlp_hidden, seed=seed
            )
            self.prompt.load_values(make_initial_prompt(base, length, initialization, text, seed))
        elif method in SLOT_METHODS:
            start = make_initial_prefix(base, length, initialization, text, seed, infix=infix)
            if shared is not None and self.frozen_prefix is None:
                start = Prefix.join(shared, start)
            self.slots = PrefixModule(base.shape, start.length, config.mlp_hidden, seed=seed, infix=infix)
            self.slots.load_values(start)
        if (kinds := make_weights_config(config)) is not None:
            self.weights = make_trainable_weights(base.model, kinds)
        if method == "in-context":
            self.demonstrations = Demonstrations(
                tuple(pairs), config.demonstrations, config.demonstration_choice, config.seed
            )
        self.to(base.device)

    @property
    def is_trainable(self) -> bool:
        """Whether a step could change what the delta does; not without weights or a slot of its own."""
        slots = self.prompt if self.slots is None else self.slots
        return self.weights is not None or (slots is not None and slots.length > 0)

    def make_delta(self) -> Delta:
        """What the parameters make now; gradients flow back to them."""
        return Delta(
            prefix=self._prepend_frozen_prefix(self.slots.make_prefix()) if self.slots else None,
            prompt_PW=self.prompt.make_prompt() if self.prompt else None,
            weights=self.weights.get_weights() if self.weights else None,
            demonstrations=self.demonstrations,
            shared_length=self.frozen_prefix.length if self.frozen_prefix else 0,
        )

    @torch.no_grad()
    def collapse(self) -> Delta:
        """What an artifact keeps: detached copies on the CPU, shared slots included."""
        return Delta(
            prefix=self._prepend_frozen_prefix(self.slots.collapse()).to(device="cpu") if self.slots else None,
            prompt_PW=self.prompt.collapse().cpu() if self.prompt else None,
            weights=self.weights.collapse() if self.weights else None,
            demonstrations=self.demonstrations,
            shared_length=self.frozen_prefix.length if self.frozen_prefix else 0,
        )

    def load(self, delta: Delta) -> None:
        """Start from a trained delta of the same method and sizes.

        Raises:
            BaseModelError: it is of another method or size; what differs is named.
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
            wanted, got = (", ".join(name for name, there in side.items() if there) for side in (ours, theirs))
            raise BaseModelError(f"a start with {wanted or 'nothing'}", got or "nothing", "start from the same method")
        if self.slots is not None and delta.prefix is not None:
            self.slots.load_values(self._remove_frozen_prefix(delta.prefix))
        if self.prompt is not None and delta.prompt_PW is not None:
            self.prompt.load_values(delta.prompt_PW)
        if self.weights is not None and delta.weights is not None:
            self.weights.load(delta.weights)

    def _prepend_frozen_prefix(self, own: Prefix) -> Prefix:
        if self.frozen_prefix is None:
            return own
        first = next(iter(own.tensors.values()))
        return Prefix.join(self.frozen_prefix.to(first.dtype, first.device), own)

    def _remove_frozen_prefix(self, whole: Prefix) -> Prefix:
        if self.frozen_prefix is None:
            return whole
        return Prefix({name: tensor[:, self.frozen_prefix.length :] for name, tensor in whole.tensors.items()})
