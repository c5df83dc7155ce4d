"""Tiny random models of many architectures and a tokenizer of single letters. torch is imported by the first call."""

from typing import TYPE_CHECKING, Any

from architectures import ALL, CONTEXT, EOS, PAD

if TYPE_CHECKING:
    from components.model.base.load import Base

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,"


def _make_config(kind: str, **sizes: Any) -> Any:
    """Two blocks in most decoders, three in the encoders of BART's kind, heads of 8; dropout as transformers has it."""
    import transformers as hf

    architecture = ALL[kind]
    return getattr(hf, architecture.config)(**{**architecture.sizes, **sizes})


def build_model(kind: str, seed: int = 0, **sizes: Any) -> Any:
    """Build a random frozen model in evaluation mode: an architecture's kind, a seed and sizes."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    config = _make_config(kind, **sizes)
    auto = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    torch.manual_seed(seed)
    model = auto.from_config(config).eval().requires_grad_(False)
    for name, sink in model.named_parameters():
        if name.endswith(".sinks"):
            sink.normal_(std=2.0)  # transformers starts them near zero
    return model


def add_states(model: Any, prefix: Any, seed: int = 0, scale: float = 1.0) -> Any:
    """Return the prefix with normal initial states for every recurrent layer of the model."""
    import torch

    from components.model.base.recurrent_states import find_state_shapes
    from components.model.prefix.initial_states import name_states
    from components.model.prefix.prefix import Prefix

    generator = torch.Generator().manual_seed(seed)
    shapes = find_state_shapes(model)
    states = {key: scale * torch.randn(one.sizes, generator=generator) for key, one in shapes.items()}
    return Prefix(prefix.tensors | name_states(states))


def make_letters() -> Any:
    """Make a tokenizer of one id a letter, which puts nothing around a text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<eos>": EOS, "<pad>": PAD, **{letter: 2 + number for number, letter in enumerate(LETTERS)}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="."))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<pad>")


def make_base(model: Any, tokenizer: Any, context: int = CONTEXT) -> "Base":
    """Make a base of a model and a tokenizer, with invented digests."""
    from loaded_bases import UNKNOWN_DIGEST

    from components.model.base.load import Base

    size = sum(parameter.numel() for parameter in model.parameters())
    return Base(model, tokenizer, "tiny", UNKNOWN_DIGEST, "1" * 64, size, context)


def give_own_head(model: Any, seed: int = 0) -> Any:
    """Give the model a head of its own, in which the end is likelier than one token in 67. Return the model."""
    import torch

    head = model.get_output_embeddings()
    weight = torch.randn(head.weight.shape, generator=torch.Generator().manual_seed(seed)) * 0.3
    weight[EOS] *= 1.5
    head.weight = torch.nn.Parameter(weight, requires_grad=False)
    return model
