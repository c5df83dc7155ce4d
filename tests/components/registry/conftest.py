"""A tiny random base, prefixes that fit it, registries on SQLite, and MLflow servers."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from forged_artifacts import METHODS, PAIRS
from mlflow_server import MlflowServer, run_server

from components.config import RegistryConfig, TrainConfig
from components.model.base.load import Base
from components.model.base.shapes import PrefixShape
from components.model.prefix.prefix import Prefix
from components.model.trainable_delta import TrainableDelta
from components.registry.artifact import save_artifact
from components.registry.manifest import Manifest
from components.registry.registry import Registry

DIGEST = {"base": "b" * 64, "tokenizer": "c" * 64}
SHAPE = PrefixShape(layers=2, kv_heads=2, head_dim=4)


def make_prefix(length: int = 3, seed: int = 0, dtype: torch.dtype = torch.float32) -> Prefix:
    generator = torch.Generator().manual_seed(seed)
    size = (SHAPE.kv_heads, length, SHAPE.head_dim)
    return Prefix(
        {
            f"decoder.self.{layer}.{kind}": torch.randn(size, generator=generator).to(dtype)
            for layer in range(SHAPE.layers)
            for kind in ("key", "value")
        }
    )


def fake_base(**changes: Any) -> Any:
    facts = {"digest": DIGEST["base"], "tokenizer_digest": DIGEST["tokenizer"], "name": "base", "shape": SHAPE}
    facts |= {"interchangeable": frozenset(), "quantization": ""}
    return SimpleNamespace(**{**facts, **changes})


@pytest.fixture(name="make_prefix")
def _make_prefix() -> Callable[..., Prefix]:
    return make_prefix


@pytest.fixture(name="fake_base")
def _fake_base() -> Callable[..., Any]:
    return fake_base


@pytest.fixture
def save() -> Callable[..., Manifest]:
    def save_with(folder: Path, prefix: Prefix | None = None, **changes: Any) -> Manifest:
        facts: dict[str, Any] = {
            "tenant": "acme",
            "base_name": "base",
            "base_digest": DIGEST["base"],
            "tokenizer_digest": DIGEST["tokenizer"],
            "dataset_version": "d" * 32,
            "data_digest": "e" * 64,
            "train": {"prefix_length": 3, "learning_rate": 0.02, "init_text": None},
            "fingerprint": "f" * 64,
        }
        return save_artifact(folder, prefix or make_prefix(), **{**facts, **changes})

    return save_with


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 of SHAPE with random weights, and a tokenizer of single bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("base")
    letters = ["<|endoftext|>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    bytewise = Tokenizer(models.BPE(vocab={letter: index for index, letter in enumerate(letters)}, merges=[]))
    bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytewise.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=bytewise, eos_token=letters[0]).save_pretrained(folder)
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(letters),
        n_positions=128,
        n_embd=8,
        n_layer=2,
        n_head=2,
        initializer_range=0.5,
        bos_token_id=0,
        eos_token_id=0,
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def save_for(save: Callable[..., Manifest]) -> Callable[..., Manifest]:
    """`save` for a real base."""

    def save_with(folder: Path, base: Base, prefix: Prefix | None = None, **changes: Any) -> Manifest:
        facts = {"base_name": base.name, "base_digest": base.digest, "tokenizer_digest": base.tokenizer_digest}
        return save(folder, prefix, **{**facts, **changes})

    return save_with


@pytest.fixture
def registry(tmp_path: Path, empty_mlflow: Path) -> Registry:
    """A new registry on SQLite, in the workspace `tmp_path`."""
    database = tmp_path / "var" / "mlflow" / "mlflow.db"
    database.parent.mkdir(parents=True)
    shutil.copyfile(empty_mlflow, database)
    return Registry(RegistryConfig(), tmp_path)


@pytest.fixture(autouse=True)
def own_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the developer's own MLflow from the tests."""
    for name in list(os.environ):
        if name.startswith("MLFLOW_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory, empty_mlflow: Path) -> Iterator[MlflowServer]:
    """A server with a folder as artifact store, shared by all tests: do not stop it."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copyfile(empty_mlflow, folder / "server.db")
    with run_server(folder / "server.db", f"{folder}/store") as server:
        yield server


@pytest.fixture
def gpt2_base(build_base: Callable[..., Base]) -> Base:
    return build_base("gpt2")


@pytest.fixture
def save_method(gpt2_base: Base, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that saves an artifact of a method and returns its folder."""

    def make(method: str, base: Base = gpt2_base) -> Path:
        config = TrainConfig.model_validate({"method": method, **METHODS[method]})
        folder = tmp_path / method
        save_artifact(
            folder,
            TrainableDelta(base, config, "a b c", None, PAIRS).collapse(),
            tenant="acme",
            base_name="base",
            base_digest=base.digest,
            tokenizer_digest=base.tokenizer_digest,
            dataset_version="d" * 32,
            data_digest="e" * 64,
            train=config.model_dump(mode="json"),
            fingerprint="f" * 64,
            method=method,
        )
        return folder

    return make
