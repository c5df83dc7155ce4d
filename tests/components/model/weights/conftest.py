"""Tiny random bases of every family, shared by all tests: none may leave a trace on one, and every method."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from components.model.weights import WeightsConfig

VOCABULARY = 67
KINDS = ("gpt2", "llama", "opt", "gpt_neox", "bart", "t5", "marian")
METHODS = {
    "full": WeightsConfig(kind="full"),
    "top-k": WeightsConfig(kind="top-k", top_layers=1),
    "adapter": WeightsConfig(kind="adapter", adapter_size=4),
    "lora": WeightsConfig(kind="lora", lora_rank=3),
}


def build(kind: str, seed: int = 0, **sizes: Any) -> Any:
    """A random frozen model; decoders have two blocks, BART-like encoders three."""
    import transformers as hf

    common = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 1}
    pair = {"decoder_start_token_id": 1, "forced_eos_token_id": None}
    plain = {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2}
    shared_heads = {**plain, "num_key_value_heads": 2, "intermediate_size": 48, "initializer_range": 0.2}
    bart = {"d_model": 32, "encoder_layers": 3, "decoder_layers": 2, "dropout": 0.0, "init_std": 0.2, **pair}
    bart |= {
        f"{stack}_{name}": size
        for stack in ("encoder", "decoder")
        for name, size in (("attention_heads", 4), ("ffn_dim", 48))
    }
    quiet_gpt2 = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "initializer_range": 0.2}
    known: dict[str, tuple[Any, dict[str, Any]]] = {
        "gpt2": (hf.GPT2Config, {"n_embd": 32, "n_head": 4, "n_layer": 2, "n_positions": 64, **quiet_gpt2}),
        "llama": (hf.LlamaConfig, shared_heads),
        "opt": (hf.OPTConfig, {**plain, "ffn_dim": 48, "word_embed_proj_dim": 16, "dropout": 0.0, "init_std": 0.2}),
        "gpt_neox": (hf.GPTNeoXConfig, {**plain, "intermediate_size": 48, "initializer_range": 0.2}),
        "bart": (hf.BartConfig, bart),
        "t5": (
            hf.T5Config,
            {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "dropout_rate": 0.0, **pair},
        ),
        "marian": (hf.MarianConfig, bart),
    }
    torch.manual_seed(seed)
    config_class, values = known[kind]
    config = config_class(**{**common, **values, **sizes})
    auto = hf.AutoModelForSeq2SeqLM if config.is_encoder_decoder else hf.AutoModelForCausalLM
    return auto.from_config(config).eval().requires_grad_(False)


@pytest.fixture(scope="session")
def build_model() -> Callable[..., Any]:
    return build


@pytest.fixture(scope="session", params=KINDS)
def model(request: pytest.FixtureRequest) -> Any:
    return build(request.param)


@pytest.fixture(params=METHODS)
def config(request: pytest.FixtureRequest) -> WeightsConfig:
    return METHODS[request.param]


@pytest.fixture
def batch() -> dict[str, Tensor]:
    """Two rows as a source, and as the target as well."""
    ids = torch.randint(2, VOCABULARY, (2, 6), generator=torch.Generator().manual_seed(1))
    return {"input_ids": ids, "labels": ids}


@pytest.fixture
def logits(batch: dict[str, Tensor]) -> Callable[[Any], Tensor]:
    def compute(model: Any) -> Tensor:
        with torch.no_grad():
            found: Tensor = model(**batch).logits
        return found

    return compute


@pytest.fixture
def train(batch: dict[str, Tensor]) -> Callable[..., list[float]]:
    """A function of model, trainable weights and steps to the losses before each step."""

    def run(model: Any, trainable: Any, steps: int = 2) -> list[float]:
        optimizer = torch.optim.AdamW(trainable.parameters(), lr=1e-2)
        losses = []
        for _ in range(steps):
            with trainable.weights().applied(model):
                loss = model(**batch).loss
                loss.backward()
            losses.append(float(loss.detach()))
            optimizer.step()
            optimizer.zero_grad()
        return losses

    return run


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
