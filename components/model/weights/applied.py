"""Weights that are applied to a model for the duration of a `with` block.

Knows which weights are applied to which model, and checks that they fit. Does not know how a method installs them.
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
from components.model.base.placement import is_divided
from components.model.base.tensor_parallel import check_whole
from components.model.weights.config import WeightsConfig

_model_lock = threading.RLock()
"""Held while weights are applied to a model, so that another thread does not inspect a changed model."""
_weights_by_model: "WeakKeyDictionary[nn.Module, MethodWeights]" = WeakKeyDictionary()


class Weights(Protocol):
    """Weights that a method adds to those of the base, or replaces them with."""

    @property
    def config(self) -> WeightsConfig:
        """The method and its sizes."""

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """Name in an artifact -> values: parameters during training, plain tensors otherwise."""

    @property
    def parameter_count(self) -> int:
        """The number of trained values."""

    def apply(self, model: Any) -> AbstractContextManager[None]:
        """Inside, `model` computes with these weights; afterwards it has its own parameter objects again.

        The same weights may be applied again inside. Do so before each forward during training: if the model has
        another dtype than the weights, it computes with a copy made by the last `apply`. With gradient checkpointing,
        call `backward` inside too: it recomputes the forward, and outside torch raises CheckpointError. Use one thread
        at a time.

        Raises:
            BaseModelError: the weights do not fit `model`; the message names the first difference.
            RuntimeError: other weights are applied, or these are suspended.
        """

    def suspend(self) -> AbstractContextManager[None]:
        """Inside `apply`: for the duration of this `with` block, compute without the weights."""

    def check_fits(self, model: Any) -> None:
        """Raise BaseModelError if the weights do not fit `model`, as `apply` does."""

    def to(self, device: torch.device) -> "Weights":
        """Return the weights on `device`: this object if they are there already."""


class Installation(Protocol):
    """Installs weights on one model and removes them. `remove` also works after an `install` that failed halfway."""

    def install(self) -> None:
        """Make the model compute with the weights."""

    def refresh(self) -> None:
        """After `install`: make the model compute with the present values of the weights."""

    def remove(self) -> None:
        """Restore the model."""


class MethodWeights(ABC):
    """The base class of all methods: checks weights, and records on which model they are installed."""

    name_pattern: ClassVar[Pattern[str]]
    """Matches the names of this method's tensors in an artifact."""

    def __init__(self, tensors: Mapping[str, Tensor], config: WeightsConfig) -> None:
        """Hold `tensors` without copying them.

        Raises:
            ArtifactError: there are no tensors, or one has a name that the method does not use.
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
        """Make initial values, with which the model computes as the base does, in the dtypes of an artifact."""

    @abstractmethod
    def find_expected_shapes(self, model: Any) -> Mapping[str, Sequence[int]]:
        """Return the names and shapes of the tensors that fit `model`."""

    @abstractmethod
    def make_installation(self, model: Any) -> Installation:
        """Make the installation on `model` of these weights, which are known to fit."""

    @property
    def parameter_count(self) -> int:
        """The number of trained values."""
        return sum(tensor.numel() for tensor in self.tensors.values())

    def collapse(self, dtypes: Mapping[str, torch.dtype]) -> Self:
        """Return detached copies on the CPU, each in its dtype of `dtypes`."""
        tensors = {name: tensor.detach().to("cpu", dtypes[name]) for name, tensor in self.tensors.items()}
        return type(self)({name: tensor.clone().contiguous() for name, tensor in tensors.items()}, self.config)

    def to(self, device: torch.device) -> Self:
        """See `Weights.to`; models that have been checked stay checked."""
        tensors = {name: tensor.to(device) for name, tensor in self.tensors.items()}
        if all(tensors[name] is tensor for name, tensor in self.tensors.items()):
            return self
        moved = copy.copy(self)
        moved.tensors, moved._installations, moved._is_suspended = tensors, {}, False
        return moved

    def check_fits(self, model: Any) -> None:
        """See `Weights.check_fits`. A model is checked once."""
        check_whole(model, "weights of a tenant's own")
        with _model_lock:
            if is_divided(model):
                fix = "use a method with slots (prefix, infix, embedding), or one device"
                raise BaseModelError("a base on one device, for weights of a tenant's own", "one on several", fix)
            if model not in self._checked_models:
                check_tensor_shapes(self.tensors, self.find_expected_shapes(model))
                self._checked_models.add(model)

    @contextmanager
    def apply(self, model: Any) -> Iterator[None]:
        """See `Weights.apply`."""
        if model in _weights_by_model and _weights_by_model[model] is not self:
            raise RuntimeError("apply() inside apply() of other weights on the same model")
        if self._is_suspended:
            raise RuntimeError("apply() inside suspend() of the same weights")
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
    """Check names and shapes against those of `find_expected_shapes`.

    Raises:
        BaseModelError: a tensor does not fit; the message names the first.
    """
    fix = "use the base and the method that the weights were trained with"
    unknown = [name for name in tensors if name not in wanted]
    if unknown:
        raise BaseModelError(
            "weights of layers that the base has", f"{unknown[0]} ({len(unknown)} unknown tensors)", fix
        )
    for name, shape in wanted.items():
        if name not in tensors:
            raise BaseModelError(f"{name} {tuple(shape)}", "no such tensor", fix)
        if tuple(tensors[name].shape) != tuple(shape):
            raise BaseModelError(f"{name} {tuple(shape)}", str(tuple(tensors[name].shape)), fix)


def to_parameter(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return `tensor` as a module's parameter: itself if possible; if it requires a gradient, that flows back to it."""
    moved = tensor.to(device, dtype)
    if isinstance(moved, nn.Parameter) or moved.requires_grad:
        return moved
    return nn.Parameter(moved, requires_grad=False)
