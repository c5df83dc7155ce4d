"""The checkpoint of a training run: one safetensors file, replaced atomically, so a kill leaves the old or the new one.

Numbers are JSON in the file's header; nothing is pickled. Does not know the training loop.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from components.storage.atomic_files import remove_temporaries, write_atomic
from components.storage.json_text import parse_json

STATE_FILE = "train.safetensors"
STATE_SCHEMA = 2
_HEADER_KEY = "prefixfleet"
_READ_ERRORS = (SafetensorError, OSError, KeyError, TypeError, ValueError, OverflowError, AttributeError)


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One point of the learning curve; losses in nats per target token."""

    step: int
    train_loss: float | None
    """Mean over the steps since the last point; None before the first step."""
    validation_loss: float


@dataclass(slots=True)
class RunProgress:
    """The numbers of a run: all of its state except tensors."""

    step: int = 0
    best_step: int = 0
    best_loss: float = float("inf")
    loss_sum: float = 0.0
    """Sum since the last point of the curve, in nats."""
    loss_tokens: int = 0
    """Target tokens since the last point of the curve."""
    seconds: float = 0.0
    tokens: int = 0
    """Of the sources and targets of all steps."""
    origin: str = ""
    """What the run started from, in the caller's words, kept through resumes; "" for a clean start."""
    curve: list[CurvePoint] = field(default_factory=list)

    @property
    def is_validated(self) -> bool:
        """Whether the validation loss of this step is already recorded."""
        return bool(self.curve) and self.curve[-1].step == self.step


def save_state(
    folder: Path,
    run_key: str,
    progress: RunProgress,
    module: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    best: Mapping[str, Tensor],
) -> None:
    """Write a checkpoint from which the run continues bit by bit as if it had not stopped.

    `best` are the tensors of the best delta so far.

    Raises:
        WorkspaceError: the disk is full; the old checkpoint is unchanged.
    """
    tensors = {f"best.{name}": tensor for name, tensor in best.items()}
    for name, parameter in module.named_parameters():
        tensors[f"module.{name}"] = parameter.detach()
        tensors |= {f"optimizer.{name}.{kind}": value for kind, value in optimizer.state[parameter].items()}
    header = {"schema": STATE_SCHEMA, "run_key": run_key, "progress": asdict(progress), "tensors": sorted(tensors)}
    tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    write_atomic(folder / STATE_FILE, save(tensors, metadata={_HEADER_KEY: json.dumps(header)}))


def read_saved_step(folder: Path, run_key: str) -> int:
    """Return the step from which a run with this key resumes; 0 if it starts clean. Reads only the file's header."""
    try:
        with safe_open(folder / STATE_FILE, framework="np") as content:
            header = _read_header(content)
            return int(header["progress"]["step"]) if header["run_key"] == run_key else 0
    except _READ_ERRORS:
        return 0


def load_state(
    folder: Path, run_key: str, module: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[RunProgress, dict[str, Tensor]] | str:
    """Load a checkpoint into `module` and `optimizer`; return its progress and the tensors of its best delta.

    If it cannot be continued, return the reason in words and change nothing. Removes temporary files of killed writes.
    """
    file = folder / STATE_FILE
    remove_temporaries(file)
    if not file.is_file():
        return "no earlier state"
    try:
        with safe_open(file, framework="pt") as content:
            header = _read_header(content)
            if header["run_key"] != run_key:
                return "the earlier state is of another run"
            if not _has_shapes_of(content, module):
                return "the earlier state has other shapes"
            tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118 - not a mapping
        values = header["progress"]
        progress = RunProgress(**{**values, "curve": [CurvePoint(**point) for point in values["curve"]]})
        best = {name[5:]: tensor for name, tensor in tensors.items() if name.startswith("best.")}
    except _READ_ERRORS:
        return "the earlier state cannot be read"
    if not _are_finite(tensors):
        return "the earlier state has values that are not finite"
    parameters = dict(module.named_parameters())
    copy_parameters(parameters, tensors)
    with torch.no_grad():
        for name, parameter in parameters.items():
            start = f"optimizer.{name}."
            optimizer.state[parameter] = {
                key.removeprefix(start): tensor if tensor.dim() == 0 else tensor.to(parameter.device)
                for key, tensor in tensors.items()
                if key.startswith(start)
            }
    return progress, best


def load_trained_parameters(folder: Path, run_key: str, module: torch.nn.Module) -> bool:
    """Load the parameters of an earlier run into `module` for a warm start. Return False if there are none that fit."""
    file = folder / STATE_FILE
    try:
        with safe_open(file, framework="pt") as content:
            if _read_header(content)["run_key"] != run_key or not _has_shapes_of(content, module):
                return False
            tensors = {name: content.get_tensor(name) for name in content.keys() if name.startswith("module.")}  # noqa: SIM118
    except _READ_ERRORS:
        return False
    if not _are_finite(tensors):
        return False
    copy_parameters(dict(module.named_parameters()), tensors)
    return True


@torch.no_grad()
def copy_parameters(parameters: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Copy saved values into a module's parameters by name."""
    for name, parameter in parameters.items():
        parameter.copy_(tensors[f"module.{name}"])


def _has_shapes_of(content: Any, module: torch.nn.Module) -> bool:
    """Whether the file has tensors of exactly the module's parameters. Reads the file's header only."""
    wanted = {f"module.{name}": list(parameter.shape) for name, parameter in module.named_parameters()}
    names = [name for name in content.keys() if name.startswith("module.")]  # noqa: SIM118 - not a mapping
    return wanted == {name: list(content.get_slice(name).get_shape()) for name in names}


def _are_finite(tensors: Mapping[str, Tensor]) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in tensors.values() if tensor.is_floating_point())


def _read_header(content: Any) -> dict[str, Any]:
    """Return the header; ValueError if it is of another schema, or tensors that it names are not in the file."""
    header: dict[str, Any] = parse_json((content.metadata() or {})[_HEADER_KEY])
    if header["schema"] != STATE_SCHEMA:
        raise ValueError(f"schema {header['schema']}")
    names = sorted(content.keys())
    if header.get("tensors", names) != names:  # states of earlier releases do not name them
        raise ValueError("tensors are missing or renamed")
    return header
