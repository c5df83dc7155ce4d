import time
from collections.abc import Callable
from pathlib import Path

import torch
from prefixfleet_vllm.artifact_loader import ArtifactLoader, LoraAdapter, RankShape
from prefixfleet_vllm.artifact_store import ArtifactStore
from prefixfleet_vllm.commands import ReadArtifact
from prefixfleet_vllm.errors import PluginError
from prefixfleet_vllm.head_slices import LayerShape
from prefixfleet_vllm.orders import ArtifactRef

from components.registry.artifact import load_artifact
from components.registry.manifest import Manifest

Save = Callable[..., Manifest]


def make_loader(folder: Path, rank: int = 0, ranks: int = 1, heads: int = 2) -> ArtifactLoader:
    layers = [LayerShape(heads, heads // ranks, 4, 4)] * 2
    shape = RankShape(layers=layers, rank=rank, ranks=ranks, dtype=torch.bfloat16)
    return ArtifactLoader(ArtifactStore([str(folder)]), shape, threads=2)


def make_command(folder: Path, manifest: Manifest, number: int = 1) -> ReadArtifact:
    artifact = ArtifactRef(sha256=manifest.sha256, tenant=manifest.tenant, length=3)
    return ReadArtifact(number, artifact, f"file://{folder}/one", frozenset({manifest.base_digest}))


def wait(loader: ArtifactLoader, count: int = 1) -> dict:
    found: dict = {}
    while len(found) < count:
        found |= dict(loader.take_finished())
        time.sleep(0.001)
    loader.close()
    return found


def test_two_ranks_together_have_the_artifact_in_the_models_dtype(tmp_path: Path, save: Save) -> None:
    manifest = save(tmp_path / "one")
    prefix = load_artifact(tmp_path / "one", None)[0].prefix
    assert prefix is not None
    parts = []
    for rank in range(2):
        loader = make_loader(tmp_path, rank, 2)
        loader.start(make_command(tmp_path, manifest))
        parts.append(wait(loader)[1])
    for layer in range(2):
        for kind in range(2):
            whole_PHD = torch.cat([part[layer][kind] for part in parts], dim=1)
            assert whole_PHD.is_contiguous()
            assert torch.equal(whole_PHD, prefix.get_layer(layer)[kind].transpose(0, 1).bfloat16())


def test_each_failure_is_returned_with_its_kind(tmp_path: Path, save: Save) -> None:
    manifest = save(tmp_path / "one")
    right = make_command(tmp_path, manifest)
    loader = make_loader(tmp_path)
    loader.start(right)
    loader.start(ReadArtifact(2, right.artifact, f"file://{tmp_path}/none", right.base_digests))
    loader.start(ReadArtifact(3, right.artifact, right.folder, frozenset({"9" * 64})))
    loader.start(ReadArtifact(4, right.artifact, "nothing://", right.base_digests))
    found = wait(loader, 4)
    kinds = {number: one.kind for number, one in found.items() if isinstance(one, PluginError)}
    assert kinds == {2: "artifact", 3: "base", 4: "store"}
    other = make_loader(tmp_path, heads=4)
    other.start(right)
    assert wait(other)[1].kind == "base"


def test_a_cancelled_attempt_is_not_reported(tmp_path: Path, save: Save) -> None:
    manifest = save(tmp_path / "one")
    loader = make_loader(tmp_path)
    loader.start(make_command(tmp_path, manifest, 1))
    loader.cancel(1)
    loader.cancel(7)
    loader.start(make_command(tmp_path, manifest, 2))
    assert list(wait(loader)) == [2]


def test_a_lora_is_converted_and_without_a_converter_refused(tmp_path: Path, save_lora: Save) -> None:
    manifest = save_lora(tmp_path / "one")
    named = ArtifactRef(sha256=manifest.sha256, tenant=manifest.tenant, method="lora")
    command = ReadArtifact(5, named, f"file://{tmp_path}/one", frozenset({manifest.base_digest}))
    shape = RankShape(layers=[], rank=0, ranks=1, dtype=torch.float32)
    loader = ArtifactLoader(
        ArtifactStore([str(tmp_path)]),
        shape,
        threads=1,
        convert_lora=lambda lora, number, _: LoraAdapter((sorted(lora.matrices), number), 7),
    )
    loader.start(command)
    assert wait(loader) == {5: LoraAdapter((["layers.0.q_proj", "layers.1.q_proj"], 5), 7)}
    without = make_loader(tmp_path)
    without.start(command)
    refused = wait(without)[5]
    assert isinstance(refused, PluginError)
    assert refused.kind == "setup"
    assert "--enable-lora" in str(refused)
