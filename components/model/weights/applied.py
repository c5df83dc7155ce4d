"""Weights that a model computes with inside a `with`, and is rid of afterwards.

Knows which weights are on which model, and that they fit it. Does not know how a method puts them there.
"""

import copy
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from re import Pattern
from typing import Any, ClassVar, Protocol, Self
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import Tensor, nn

from components.errors import ArtifactError, BaseModelError
from components.model.weights.config import WeightsConfig

_model_lock = threading.RLock()
"""Held while weights are on a model: what another thread looks at is then not the bare model."""
_weights_by_model: "WeakKeyDictionary[nn.Module, MethodWeights]" = WeakKeyDictionary()


class Weights(Protocol):
    """What a method adds to the base's weights or puts in their place."""

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """Names of an artifact to values: live parameters while training, plain tensors otherwise."""

    @property
    def parameter_count(self) -> int:
        """The number of trained values."""

    def apply(self, model: Any) -> AbstractContextManager[None]:
        """Inside, `model` computes with these weights; afterwards it is as it was, object by object.

        The same weights may be applied again inside. So do before each forward where they are trained meanwhile: a
        model of another dtype than theirs computes with what they were when they were last applied. Run `backward`
        inside too where gradient checkpointing is on: its second forward is a forward (outside, torch refuses with a
        CheckpointError). One thread at a time.

        Raises:
            BaseModelError: the weights do not fit `model`; what does not is named.
            RuntimeError: other weights are applied, or these are suspended.
        """

    def suspend(self) -> AbstractContextManager[None]:
        """Inside `apply`: compute as the bare base for a while."""

    def check_fits(self, model: Any) -> None:
        """Refuse a model of another shape. Raises BaseModelError as `apply`."""

    def to(self, device: torch.device) -> "Weights":
        """The same weights on a device; themselves where they are there already."""


class Installation(Protocol):
    """Weights on one model, put and taken in turns; `remove` must also do after a `install` that failed halfway."""

    def install(self) -> None:
        """Let the model compute with the weights."""

    def refresh(self) -> None:
        """After a `install`: let the model compute with what the weights have become since."""

    def remove(self) -> None:
        """Let the model be as it was."""


class MethodWeights(ABC):
    """What all methods share: the bookkeeping around putting weights on a model and taking them off."""

    name_pattern: ClassVar[Pattern[str]]
    """What this method's tensors are called in an artifact."""

    def __init__(self, tensors: Mapping[str, Tensor], config: WeightsConfig) -> None:
        """Keep `tensors`, not copies of them.

        Raises:
            ArtifactError: there are none, or one has a name that the method does not give.
        """
        unknown = [name for name in tensors if not self.name_pattern.fullmatch(name)]
        if unknown or not tensors:
            got = repr(unknown[0]) if unknown else "none"
            raise ArtifactError(f"tensors of the method {config.kind}", got, "use an artifact of this method")
        self.tensors: Mapping[str, Tensor] = dict(tensors)
        self.config = config
        self._checked_models: WeakSet[nn.Module] = WeakSet()
        self._installations: dict[nn.Module, Installation] = {}
        self._is_suspended = False

    @classmethod
    @abstractmethod
    def make_initial_tensors(cls, model: Any, config: WeightsConfig) -> dict[str, Tensor]:
        """Fresh values to start training from, that let the model compute as the base, in an artifact's dtypes."""

    @abstractmethod
    def find_expected_shapes(self, model: Any) -> Mapping[str, Sequence[int]]:
        """Names and shapes that fit `model`."""

    @abstractmethod
    def make_installation(self, model: Any) -> Installation:
        """How these weights, known to fit, are put on `model`."""

    @property
    def parameter_count(self) -> int:
        """The number of trained values."""
        return sum(tensor.numel() for tensor in self.tensors.values())

    def collapse(self, dtypes: Mapping[str, torch.dtype]) -> Self:
        """Detached copies on the CPU, each of its own of `dtypes`."""
        tensors = {name: tensor.detach().to("cpu", dtypes[name]) for name, tensor in self.tensors.items()}
        return type(self)({name: tensor.clone().contiguous() for name, tensor in tensors.items()}, self.config)

    def to(self, device: torch.device) -> Self:
        """See `Weights.to`; what was found out about models goes along."""
        tensors = {name: tensor.to(device) for name, tensor in self.tensors.items()}
        if all(tensors[name] is tensor for name, tensor in self.tensors.items()):
            return self
        moved = copy.copy(self)
        moved.tensors, moved._installations, moved._is_suspended = tensors, {}, False
        return moved

    def check_fits(self, model: Any) -> None:
        """See `Weights.check_tensor_shapes`; asked again of one model, it does nothing."""
        with _model_lock:
            if model not in self._checked_models:
                check_tensor_shapes(self.tensors, self.find_expected_shapes(model))
                self._checked_models.add(model)

    @contextmanager
    def apply(self, model: Any) -> Iterator[None]:
        """See `Weights.apply`."""
        if model in _weights_by_model and _weights_by_model[model] is not self:
            raise RuntimeError("applied() inside applied() of other weights on one model")
        if self._is_suspended:
            raise RuntimeError("applied() inside suspended() of the same weights")
        if model in _weights_by_model:
            self._installations[model].refresh()
            yield
            return
        with _model_lock:
            self.check_fits(model)
            installation = self.make_installation(model)
            _weights_by_model[model] = self
            self._installations[model] = installation
            try:
                installation.install()
                yield
            finally:
                installation.remove()
                del self._installations[model]
                del _weights_by_model[model]

    @contextmanager
    def suspend(self) -> Iterator[None]:
        """See `Weights.suspend`."""
        if self._is_suspended:
            yield
            return
        self._is_suspended = True
        try:
            for installation in self._installations.values():
                installation.remove()
            yield
        finally:
            for installation in self._installations.values():
                installation.install()
            self._is_suspended = False


def check_tensor_shapes(tensors: Mapping[str, Tensor], wanted: Mapping[str, Sequence[int]]) -> None:
    """Refuse tensors of other names or shapes than `find_expected_shapes`.

    Raises:
        BaseModelError: naming the first that does not fit.
    """
    fix = "use the base and the method that the weights were trained with"
    unknown = [name for name in tensors if name not in wanted]
    if unknown:
        raise BaseModelError("weights that the base has a place for", f"{unknown[0]} ({len(unknown)} such)", fix)
    for name, shape in wanted.items():
        if name not in tensors:
            raise BaseModelError(f"{name} {tuple(shape)}", "no such tensor", fix)
        if tuple(tensors[name].shape) != tuple(shape):
            raise BaseModelError(f"{name} {tuple(shape)}", str(tuple(tensors[name].shape)), fix)


def to_parameter(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """`tensor` as a module's parameter: itself where it can be, and with its gradient wherever it has one."""
    moved = tensor.to(device, dtype)
    if isinstance(moved, nn.Parameter) or moved.requires_grad:
        return moved
    return nn.Parameter(moved, requires_grad=False)
