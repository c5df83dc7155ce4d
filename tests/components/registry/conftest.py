"""A tiny random base, and prefixes that fit it."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
import torch

from components.config import RegistryConfig
from components.model.base.load import Base
from components.model.base.shapes import PrefixShape
from components.model.prefix.prefix import Prefix
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


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An sqlite file with MLflow's tables, which take seconds to make; to be copied."""
    from components.registry.mlflow.connection import quiet_mlflow

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    with quiet_mlflow():
        from mlflow import MlflowClient

        MlflowClient(tracking_uri=f"sqlite:///{path}", registry_uri=f"sqlite:///{path}").search_registered_models()
    return path


@pytest.fixture
def registry(tmp_path: Path, empty_database: Path) -> Registry:
    """A registry of its own on sqlite, in the workspace `tmp_path`."""
    database = tmp_path / "var" / "mlflow" / "mlflow.db"
    database.parent.mkdir(parents=True)
    shutil.copyfile(empty_database, database)
    return Registry(RegistryConfig(), tmp_path)


@pytest.fixture(autouse=True)
def own_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test follows the developer's own MLflow."""
    for name in list(os.environ):
        if name.startswith("MLFLOW_"):
            monkeypatch.delenv(name)


class MlflowServer:
    """`mlflow server` on a database of its own, which hands on what lies at `store`."""

    def __init__(self, folder: Path, store: str, environment: Mapping[str, str]) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{port}"
        where = ("--host", "127.0.0.1", "--port", str(port), "--workers", "1")
        stores = ("--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", store)
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *where, *stores],
            env={**os.environ, **quiet, **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def wait_ready(self) -> None:
        until = time.monotonic() + 120
        while time.monotonic() < until and self._process.poll() is None:
            try:
                if requests.get(f"{self.uri}/health", timeout=2).ok:
                    return
            except requests.RequestException:
                time.sleep(0.5)
        pytest.fail(f"mlflow server did not start: {self._process.poll()}")

    def stop(self) -> None:
        """End it and the workers that it started, which share its process group."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, 15)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, 9)
                self._process.wait(20)


@pytest.fixture
def start_mlflow(tmp_path: Path) -> Iterator[Callable[..., MlflowServer]]:
    """A function of a store (a folder by default) and environment variables to a server; stopped after the test."""
    started = []

    def start(store: str = f"{tmp_path}/store", **environment: str) -> MlflowServer:
        started.append(MlflowServer(tmp_path, store, environment))
        started[-1].wait_ready()
        return started[-1]

    yield start
    for one in started:
        one.stop()
