import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from registered_versions import add_version

from components.errors import ArtifactError
from components.model.delta import Delta
from components.model.weights import WeightsConfig, make_weights_from_tensors
from components.registry.manifest import Manifest
from components.registry.mlflow.versions import LORA_OUTSIDE_TAG, LORA_RANK_TAG
from components.registry.registry import Registry, RunLog

Save = Callable[..., Manifest]
Make = Callable[..., Any]


def test_registering_an_artifact_again_makes_no_second_version(
    registry: Registry, save: Save, tmp_path: Path, make_prefix: Make
) -> None:
    first = add_version(registry, save, tmp_path)
    registry.set_alias("acme", "champion", first.version)
    again = registry.register("acme", tmp_path / "acme", "base", {"verdict": "again"}, RunLog())
    assert (again.version, again.aliases, again.tags["verdict"]) == (first.version, ("champion",), "again")
    assert add_version(registry, save, tmp_path, prefix=make_prefix(seed=3)).version == "2"


def test_another_tenants_artifact_is_refused(registry: Registry, save: Save, tmp_path: Path) -> None:
    save(tmp_path / "acme", tenant="other")
    with pytest.raises(ArtifactError, match="an artifact of acme"):
        registry.register("acme", tmp_path / "acme", "base", {}, RunLog())


def test_the_model_names_its_base_by_absolute_folder(registry: Registry, save: Save, tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    add_version(registry, save, tmp_path)
    model = yaml.safe_load(next((tmp_path / "var").rglob("MLmodel")).read_text())
    config = model["flavors"]["python_function"]["config"]
    assert config == {"path": str((tmp_path / "base").resolve()), "revision": None, "dtype": "float32"}
    assert json.loads(model["signature"]["params"])[0]["name"] == "num_beams"


@pytest.mark.parametrize(("layers", "outside"), [(["h.0.attn"], None), (["h.0.attn", "lm_head"], "lm_head")])
def test_a_lora_has_its_rank_and_layers_outside_the_blocks_among_its_tags(
    registry: Registry, save: Save, tmp_path: Path, layers: list[str], outside: str | None
) -> None:
    shapes = {"A": (3, 8), "B": (8, 3)}
    tensors = {f"lora.{layer}.{part}": torch.ones(shape) for layer in layers for part, shape in shapes.items()}
    weights = make_weights_from_tensors(tensors, WeightsConfig(kind="lora", lora_rank=3))
    lora = {"prefix": Delta(weights=weights), "method": "lora", "train": {"lora_rank": 3}}
    tags = add_version(registry, save, tmp_path, **lora).tags
    assert (tags[LORA_RANK_TAG], tags.get(LORA_OUTSIDE_TAG)) == ("3", outside)
    assert LORA_RANK_TAG not in add_version(registry, save, tmp_path, tenant="other").tags
