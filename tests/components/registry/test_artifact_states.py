"""Artifacts with initial states: they load as they were saved, and damaged or foreign states are refused by name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from forged_artifacts import forge, make_unusable, read_tensors
from tiny_models import add_states

from components.config import TrainConfig
from components.errors import ArtifactError, BaseModelError
from components.model.base.load import Base
from components.model.prefix.initialization import make_random_prefix
from components.registry.artifact import load_artifact
from components.registry.manifest import TENSORS_FILE, read_manifest

NAME = "decoder.state.0.recurrent"


@pytest.fixture
def hybrid(build_base: Callable[..., Base]) -> Base:
    return build_base("falcon_h1")


@pytest.fixture
def folder(hybrid: Base, save_for: Callable[..., Any], tmp_path: Path) -> Path:
    """A saved artifact with states."""
    prefix = add_states(hybrid.model, make_random_prefix(hybrid.shape, 3, 0))
    save_for(tmp_path / "own", hybrid, prefix, train=TrainConfig(prefix_length=3, initial_state=True).model_dump())
    return tmp_path / "own"


def test_states_are_loaded_as_they_were_saved(folder: Path, hybrid: Base) -> None:
    wanted = add_states(hybrid.model, make_random_prefix(hybrid.shape, 3, 0))
    delta, manifest = load_artifact(folder, hybrid)
    assert delta.tensors.keys() == wanted.tensors.keys()
    assert all(torch.equal(tensor, wanted.tensors[name]) for name, tensor in delta.tensors.items())
    assert manifest.train["initial_state"] is True
    assert manifest.shapes[NAME] == [4, 8, 8]
    assert manifest.parameters == wanted.parameter_count
    assert (delta.length, manifest.prefix_length) == (3, 3)
    stored = (folder / TENSORS_FILE).stat().st_size
    assert 4 * wanted.parameter_count < stored <= manifest.compute_size_limit(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), torch.uint8])
def test_a_state_that_is_not_finite_or_no_float_is_refused(folder: Path, hybrid: Base, value: Any) -> None:
    tensors = read_tensors(folder)
    make_unusable(tensors, NAME, value)
    forge(folder, tensors)
    with pytest.raises(ArtifactError, match=f"finite floating-point values.*{NAME}"):
        load_artifact(folder, hybrid)


@pytest.mark.parametrize("sizes", [(4, 8, 9), (8, 8), (1, 4, 8, 8), ()])
def test_a_state_of_other_sizes_is_refused(folder: Path, hybrid: Base, sizes: tuple[int, ...]) -> None:
    tensors = {**read_tensors(folder), NAME: torch.ones(sizes)}
    forge(folder, tensors, parameters=sum(tensor.numel() for tensor in tensors.values()))
    with pytest.raises(BaseModelError, match=r"a recurrent state in layer 0 of \(4, 8, 8\)"):
        load_artifact(folder, hybrid)


def test_a_missing_or_unknown_state_is_refused(folder: Path, hybrid: Base) -> None:
    tensors = read_tensors(folder)
    state = tensors.pop(NAME)
    for own, text in (
        (tensors, "got no recurrent state in layer 0"),
        ({**tensors, NAME: state, "decoder.state.7.recurrent": state.clone()}, "got a recurrent state in layer 7"),
    ):
        forge(folder, own, parameters=sum(tensor.numel() for tensor in own.values()))
        with pytest.raises(BaseModelError, match=text):
            load_artifact(folder, hybrid)


def test_states_and_the_train_section_must_agree(
    folder: Path, hybrid: Base, save_for: Callable[..., Any], tmp_path: Path
) -> None:
    manifest = read_manifest(folder)
    forge(folder, read_tensors(folder), train={**manifest.train, "initial_state": False})
    with pytest.raises(ArtifactError, match="wanted no initial states"):
        load_artifact(folder, hybrid)
    slots = make_random_prefix(hybrid.shape, 3, 0)
    save_for(tmp_path / "slots", hybrid, slots, train=TrainConfig(prefix_length=3, initial_state=True).model_dump())
    with pytest.raises(ArtifactError, match="wanted initial states of recurrent layers"):
        load_artifact(tmp_path / "slots", hybrid)


def test_an_artifact_of_an_earlier_release_has_no_states(
    hybrid: Base, save_for: Callable[..., Any], tmp_path: Path
) -> None:
    save_for(tmp_path / "old", hybrid, make_random_prefix(hybrid.shape, 3, 0), train={"prefix_length": 3})
    delta, _ = load_artifact(tmp_path / "old", hybrid)
    assert delta.prefix is not None
    assert not delta.prefix.states


def test_a_base_that_takes_no_states_refuses_the_artifact(
    folder: Path, build_base: Callable[..., Base], save_for: Callable[..., Any], tmp_path: Path
) -> None:
    jamba = build_base("jamba")
    prefix = make_random_prefix(jamba.shape, 3, 0)
    tensors = {**prefix.tensors, NAME: torch.ones(64, 8)}
    save_for(tmp_path / "j", jamba, type(prefix)(tensors), train=TrainConfig(initial_state=True).model_dump())
    with pytest.raises(BaseModelError, match="JambaForCausalLM: layer 0 ignores a given recurrent state"):
        load_artifact(tmp_path / "j", jamba)
