"""`train.initial_state` through the stages: training, evaluation, sharing, warm starts and exports."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_models
from transformers import AutoConfig

from components.errors import ArtifactError, ConfigError
from components.model.base.recurrent_states import find_state_shapes
from components.registry.artifact import load_artifact
from components.stages import evaluate, gate, register, train
from components.stages.commands.peft_exchange import export_peft, import_peft
from components.stages.outcome import raise_on_failures
from components.stages.plan import plan
from components.stages.workspace import Workspace

TRAIN = {"prefix_length": 2, "max_steps": 4, "validate_every": 2, "learning_rate": 0.05, "initial_state": True}


@pytest.fixture
def hybrid_root(make_root: Callable[..., Path]) -> Callable[..., Path]:
    """`make_root` with a Falcon-H1 as the base."""

    def make(names: tuple[str, ...], **sections: Any) -> Path:
        root = make_root(names, **sections)
        before = AutoConfig.from_pretrained(root / "base")
        ids = {"bos_token_id": before.eos_token_id, "eos_token_id": before.eos_token_id, "pad_token_id": None}
        sizes = {"vocab_size": before.vocab_size, "max_position_embeddings": before.n_positions}
        tiny_models.build_model("falcon_h1", **sizes, **ids).save_pretrained(root / "base")
        return root

    return make


def get_details(outcomes: Any) -> dict[str, tuple[str, str]]:
    return {one.tenant: (one.state, one.detail) for one in outcomes}


def test_states_are_trained_evaluated_and_reported(
    hybrid_root: Callable[..., Path], tmp_path: Path, set_params: Any, caplog: pytest.LogCaptureFixture
) -> None:
    plain = {"alder": {"train": {"initial_state": False}}}
    root = hybrid_root(("alder", "birch"), train=TRAIN, tenants=plain, evaluate={"max_new_tokens": 4})
    raise_on_failures(train.run(Workspace(root)))
    raise_on_failures(evaluate.run(Workspace(root)))
    workspace = Workspace(root)
    (_, without), (delta, manifest) = (
        load_artifact(root / "out/train" / name, workspace.base) for name in ("alder", "birch")
    )
    assert delta.prefix is not None
    assert delta.prefix.states.keys() == find_state_shapes(workspace.base.model).keys()
    assert all(state.any() for state in delta.prefix.states.values())
    more = sum(state.numel() for state in delta.prefix.states.values())
    assert manifest.parameters == without.parameters + more
    assert "initial_state" in without.train

    with pytest.raises(ArtifactError, match=r"4 initial states of recurrent layers, the first decoder\.state\.0\.conv"):
        export_peft(workspace, "birch", tmp_path / "peft", trained=True)
    export_peft(workspace, "alder", tmp_path / "peft", trained=True)
    with pytest.raises(ConfigError, match="a prefix without initial states for birch"):
        import_peft(workspace, "birch", tmp_path / "peft")

    raise_on_failures(gate.run(workspace))
    versions, failures = register.register(workspace, plan(workspace, ["alder"]).collect_fingerprints())
    assert (failures, register.roll_out(workspace, versions, ["alder"])[0]) == ([], {"alder": "1"})
    set_params(root, train=TRAIN, tenants={"alder": {"train": {"warm_start": True}}})
    with caplog.at_level("INFO", logger="prefixfleet"):
        raise_on_failures(train.run(Workspace(root), ["alder"]))
    assert "no warm start from champion version 1: it has another train.initial_state" in caplog.text

    set_params(root, train=TRAIN, tenants={"alder": {"train": {"shared": "birch", "initial_state": False}}})
    state, detail = get_details(train.run(Workspace(root)))["alder"]
    assert (state, "without initial states; got birch, which has train.initial_state: true" in detail) == (
        "failed",
        True,
    )


def test_a_base_without_recurrent_layers_fails_each_tenant_by_name(make_root: Callable[..., Path]) -> None:
    root = make_root(("alder",), train=TRAIN)
    state, detail = get_details(train.run(Workspace(root)))["alder"]
    assert state == "failed"
    assert "GPT2LMHeadModel: no layer keeps a recurrent state" in detail
    assert not (root / "out/train/alder/prefix.safetensors").exists()
