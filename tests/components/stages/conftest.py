"""What stages have trained in a workspace, and a training that is stopped on the way."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from evaluated_tenants import TRAIN

from components.registry.artifact import load_artifact
from components.stages import train
from components.stages.outcome import raise_on_failures
from components.stages.stamps import read_csv
from components.stages.workspace import Workspace

if TYPE_CHECKING:
    from torch import Tensor


@pytest.fixture
def losses_of() -> Callable[..., list[float]]:
    """A function to the validation losses of a tenant's last training."""

    def read(root: Path, tenant: str = "alder") -> list[float]:
        return [float(row["validation_loss"]) for row in read_csv(root / "out/train" / tenant / "loss.csv")]

    return read


@pytest.fixture
def prefixes_of() -> "Callable[..., dict[str, Tensor]]":
    """A function to what was trained: tenant -> keys and values of all layers, stacked."""

    def read(root: Path, *tenants: str) -> "dict[str, Tensor]":
        base = Workspace(root).base
        deltas = {tenant: load_artifact(root / "out/train" / tenant, base)[0] for tenant in tenants}
        return {tenant: delta.prefix.stack_decoder_site() for tenant, delta in deltas.items()}

    return read


@pytest.fixture
def stop_and_resume(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that trains with Ctrl-C at the n-th reported step, and then resumes to the end."""

    def trained(root: Path, at: int, tenants: Sequence[str] | None = None) -> None:
        seen = []

        def stop(progress: Any) -> None:
            seen.append(progress)
            if len(seen) == at:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(train, "report_progress", stop)
            with pytest.raises(KeyboardInterrupt):
                train.run(Workspace(root), tenants)
        raise_on_failures(train.run(Workspace(root), tenants))

    return trained


@pytest.fixture
def trained(make_root: Callable[..., Path]) -> Callable[..., Path]:
    """A function of evaluate parameters to a workspace whose tenants, each of another method, are trained."""
    from transformers import GPT2Config, GPT2LMHeadModel

    def make(tenants: Sequence[str] = tuple(TRAIN), rows: int = 4, own: Any = None, **parameters: Any) -> Path:
        overrides = {tenant: {"train": TRAIN[tenant], **(own or {}).get(tenant, {})} for tenant in tenants}
        root = make_root(tenants, evaluate=parameters, tenants=overrides, engine={"decode_rows": rows})
        torch.manual_seed(0)
        config = GPT2Config.from_pretrained(root / "base", initializer_range=0.5, n_positions=224)
        GPT2LMHeadModel(config).save_pretrained(root / "base")
        assert {one.state for one in train.run(Workspace(root))} == {"done"}
        return root

    return make
