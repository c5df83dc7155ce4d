"""What stages have trained in a workspace, and a training that is stopped on the way."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

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
    """A function that trains with Ctrl-C at the n-th step that is told of, and then to the end."""

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
