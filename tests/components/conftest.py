"""Tiny random bases of many architectures, a tokenizer of single letters, and a PostgreSQL server.

torch is imported when a base is made; the server is started when a test first needs it.
"""

import secrets
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sql

if TYPE_CHECKING:
    from components.model.base.load import Base

EOS, PAD, CONTEXT = 0, 1, 64
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,"
VOCABULARY = 2 + len(LETTERS)


def _config(kind: str, **sizes: Any) -> Any:
    """Two blocks in every decoder, three in the encoders of BART's kind, heads of 8; dropout as transformers has it."""
    import transformers as hf

    common = {"vocab_size": VOCABULARY, "bos_token_id": EOS, "eos_token_id": EOS, "pad_token_id": PAD}
    pair = {"decoder_start_token_id": PAD, "forced_eos_token_id": None}
    wide = {"initializer_range": 0.2, "max_position_embeddings": CONTEXT}
    plain = {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2}
    shared_heads = {**plain, **wide, "num_key_value_heads": 2, "intermediate_size": 48}
    opt = {"ffn_dim": 48, "word_embed_proj_dim": 16, "init_std": 0.2, "max_position_embeddings": CONTEXT}
    bart: dict[str, Any] = {"d_model": 32, "encoder_layers": 3, "decoder_layers": 2, "init_std": 0.2, **pair}
    for stack in ("encoder", "decoder"):
        bart |= {f"{stack}_attention_heads": 4, f"{stack}_ffn_dim": 48}
    bart["max_position_embeddings"] = CONTEXT
    t5 = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, **pair}
    known: dict[str, tuple[str, dict[str, Any]]] = {
        "gpt2": (
            "GPT2Config",
            {"n_embd": 32, "n_head": 4, "n_layer": 2, "n_positions": CONTEXT, "initializer_range": 0.2},
        ),
        "llama": ("LlamaConfig", shared_heads),
        "qwen2": ("Qwen2Config", shared_heads),
        "opt": ("OPTConfig", {**plain, **opt}),
        "gpt_neox": ("GPTNeoXConfig", {**plain, **wide, "intermediate_size": 48}),
        "bart": ("BartConfig", bart),
        "mbart": ("MBartConfig", bart),
        "marian": ("MarianConfig", bart),
        "pegasus": ("PegasusConfig", bart),
        "t5": ("T5Config", t5),
        "mt5": ("MT5Config", t5),
    }
    name, values = known[kind]
    return getattr(hf, name)(**{**common, **values, **sizes})


def _build(kind: str, seed: int = 0, **sizes: Any) -> Any:
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    config = _config(kind, **sizes)
    auto = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    torch.manual_seed(seed)
    return auto.from_config(config).eval().requires_grad_(False)


def _letters() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<eos>": EOS, "<pad>": PAD, **{letter: 2 + number for number, letter in enumerate(LETTERS)}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="."))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<pad>")


@pytest.fixture(scope="session")
def build_model() -> Callable[..., Any]:
    """A function of an architecture, a seed and sizes to a random frozen model in evaluation mode."""
    return _build


@pytest.fixture(scope="session")
def letters() -> Any:
    """A tokenizer of one id a letter, which puts nothing around a text."""
    return _letters()


@pytest.fixture(scope="session")
def base_of(letters: Any) -> "Callable[..., Base]":
    """A function of a model (and a context) to a base with the tokenizer of letters."""
    from components.model.base.load import Base

    def make(model: Any, context: int = CONTEXT) -> Base:
        size = sum(parameter.numel() for parameter in model.parameters())
        return Base(model, letters, "tiny", "0" * 64, "1" * 64, size, context)

    return make


@pytest.fixture(scope="session")
def build_base(base_of: "Callable[..., Base]") -> "Callable[..., Base]":
    """`build_model`, with a head of its own in which the end is likelier than one token in 67, as a base."""
    import torch

    def make(kind: str, seed: int = 0, context: int = CONTEXT, **sizes: Any) -> "Base":
        model = _build(kind, seed, **sizes)
        head = model.get_output_embeddings()
        weight = torch.randn(head.weight.shape, generator=torch.Generator().manual_seed(seed)) * 0.3
        weight[EOS] *= 1.5
        head.weight = torch.nn.Parameter(weight, requires_grad=False)
        return base_of(model, context)

    return make


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The URL of a PostgreSQL server that all tests of this session share; skips where PostgreSQL is not installed."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
    from harness.postgresql_server import is_installed, run_postgresql

    if not is_installed():
        pytest.skip("no PostgreSQL on this machine (initdb, pg_ctl)")
    with run_postgresql() as url:
        yield url


@pytest.fixture
def make_postgresql_url(postgresql_server: str) -> Callable[[], str]:
    """A function that makes an empty PostgreSQL schema, and returns a URL whose tables are in that schema."""

    def make() -> str:
        name = f"test_{secrets.token_hex(4)}"
        engine = sql.create_engine(postgresql_server)
        with engine.begin() as connection:
            connection.exec_driver_sql(f"CREATE SCHEMA {name}")
        engine.dispose()
        return f"{postgresql_server}?options=-csearch_path%3D{name}"

    return make


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def make_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """A function that returns the URL of an empty database: once of SQLite, once of PostgreSQL."""
    if request.param == "sqlite":
        return lambda: f"sqlite:///{tmp_path}/{secrets.token_hex(4)}.db"
    make: Callable[[], str] = request.getfixturevalue("make_postgresql_url")
    return make


@pytest.fixture
def database_url(make_database_url: Callable[[], str]) -> str:
    """The URL of an empty database: once of SQLite, once of PostgreSQL."""
    return make_database_url()
