"""Tiny random models of many architectures and a tokenizer of single letters. torch is imported by the first call."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from components.model.base.load import Base

EOS, PAD, CONTEXT = 0, 1, 64
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,"
VOCABULARY = 2 + len(LETTERS)


def _make_config(kind: str, **sizes: Any) -> Any:
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


def build_model(kind: str, seed: int = 0, **sizes: Any) -> Any:
    """Build a random frozen model in evaluation mode: an architecture's kind, a seed and sizes."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    config = _make_config(kind, **sizes)
    auto = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    torch.manual_seed(seed)
    return auto.from_config(config).eval().requires_grad_(False)


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
    from components.model.base.load import Base

    size = sum(parameter.numel() for parameter in model.parameters())
    return Base(model, tokenizer, "tiny", "0" * 64, "1" * 64, size, context)


def give_own_head(model: Any, seed: int = 0) -> Any:
    """Give the model a head of its own, in which the end is likelier than one token in 67. Return the model."""
    import torch

    head = model.get_output_embeddings()
    weight = torch.randn(head.weight.shape, generator=torch.Generator().manual_seed(seed)) * 0.3
    weight[EOS] *= 1.5
    head.weight = torch.nn.Parameter(weight, requires_grad=False)
    return model
