"""The loss of a prefix on small hybrids without and with `train.initial_state`, and of a longer one of the same size.

    python benchmarks/initial_states.py [--steps 100] [--slots 4]

The bases have random weights, so the figures compare how much of a tenant's text each kind of values can hold, not what
a pretrained base does with them. Their states decay slowly, with time steps of 0.02, as those of Mamba's own
initialization (0.001 to 0.1); transformers initializes them to decay within a few tokens.
"""

import argparse
import random
from typing import Any

import torch
from harness.random_bases import make_number_tokenizer, silence_transformers

from components.config import TrainConfig
from components.data.schema import Example
from components.model.base.load import Base
from components.model.base.recurrent_states import find_state_shapes
from components.training.prepare import fit

WORDS, END, CONTEXT, COMMON = 500, 0, 256, {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
SIZES = {"vocab_size": WORDS, "hidden_size": 64, "intermediate_size": 128, "max_position_embeddings": CONTEXT}
IDS = {"bos_token_id": END, "eos_token_id": END, "pad_token_id": END, "initializer_range": 0.1}
MAMBA = {"mamba_d_ssm": 64, "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 16, "mamba_n_groups": 1}
MAMBA |= {"mamba_chunk_size": 16}
LINEAR = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
}
SLOW_TIME_STEP = -4.0
"""Before softplus, which makes it 0.02."""
LAYERS = ["linear_attention", "full_attention"] * 2
HYBRIDS: dict[str, tuple[str, dict[str, Any]]] = {
    "Falcon-H1": ("FalconH1Config", {"num_hidden_layers": 4, **MAMBA}),
    "Qwen 3.5": ("Qwen3_5TextConfig", {"num_hidden_layers": 4, "layer_types": LAYERS, **LINEAR}),
    "LFM2": ("Lfm2Config", {"num_hidden_layers": 4, "layer_types": ["conv", "full_attention"] * 2}),
}


def main() -> None:
    """Train three tenants on each base and print their losses."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--slots", type=int, default=4)
    chosen = parser.parse_args()
    silence_transformers()
    for name in HYBRIDS:
        compare(name, chosen.slots, chosen.steps)


def compare(name: str, slots: int, steps: int) -> None:
    """Print the losses on one base."""
    base = make_base(name)
    values = sum(shape.size for shape in find_state_shapes(base.model).values())
    longer = slots + round(values / base.shape.sites["decoder.self"].size)
    print(f"{name}: {base.parameter_count:,} parameters")
    for label, length, with_states in (
        (f"{slots} slots", slots, False),
        (f"{slots} slots and states", slots, True),
        (f"{longer} slots", longer, False),
    ):
        config = TrainConfig(
            prefix_length=length,
            initial_state=with_states,
            initialization="random",
            max_steps=steps,
            validate_every=max(1, steps // 4),
            warmup_steps=5,
            batch_size=8,
            learning_rate=0.05,
        )
        result = fit(base, config, make_examples(256, 1), make_examples(32, 2))
        print(
            f"  {label:24} {result.delta.parameter_count:>8,} values  training loss {result.train_loss:.3f}  "
            f"validation loss {result.validation_loss:.3f} (from {result.curve[0].validation_loss:.3f})  "
            f"{result.seconds:.0f} s",
            flush=True,
        )


def make_base(name: str) -> Base:
    """Make a hybrid with random weights and words that are numbers."""
    import transformers

    kind, sizes = HYBRIDS[name]
    config = getattr(transformers, kind)(**{**SIZES, **COMMON, **IDS, **sizes})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    for parameter_name, parameter in model.named_parameters():
        if parameter_name.endswith("dt_bias"):
            parameter.fill_(SLOW_TIME_STEP)
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=make_number_tokenizer(WORDS), eos_token=str(END))
    size = sum(parameter.numel() for parameter in model.parameters())
    return Base(model, tokenizer, name, "0" * 64, "0" * 64, size, CONTEXT)


def make_examples(count: int, seed: int) -> list[Example]:
    """Make sources of six words, each answered by the tenant's word for it, between words that are always the same."""
    shuffler, tenant = random.Random(seed), random.Random(0)
    answers = {word: tenant.randrange(1, WORDS) for word in range(1, 40)}
    made = []
    for _ in range(count):
        words = shuffler.choices(list(answers), k=6)
        target = [7, 11, *(answers[word] for word in words[:3]), 13, 17]
        made.append(Example(" ".join(map(str, words)), (" ".join(map(str, target)),)))
    return made


if __name__ == "__main__":
    main()
