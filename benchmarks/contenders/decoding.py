"""The sides of the decoding benchmark: PrefixFleet, `peft`'s batched generate, and one input at a time.

All get the same prefixes, the same rows of ids, the same beams. Random weights end no text, so every row has a length
at which its end is forced and before which none comes: the end's embedding is zero, which leaves its logit far below
the beams' (the last layer norm is scaled up, so that logits differ as a trained model's do). On transformers' side a
`LogitsProcessor` forces, on ours the row's limit, both with log probability 0. A base given by its folder keeps its
weights and may end earlier.

Shapes: R rows x beams, V vocabulary, L layers, H heads, P prefix slots, D head size, T tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from harness.alternating_runs import WaitForTurn, reset_peak_memory
from harness.random_bases import silence_transformers
from harness.training_examples import E2E_LENGTHS
from harness.weight_scaling import sharpen_logits
from torch import Tensor
from transformers import DynamicCache, LogitsProcessor, LogitsProcessorList

from components.config import BaseConfig
from components.data.importers.e2e import import_e2e
from components.model.base.load import Base, load_base
from components.model.decoding import Decoding, generate_each
from components.model.prefix.prefix import Prefix
from components.model.text.texts import TextCodec
from contenders import peft_training


@dataclass(frozen=True)
class DecodingTask:
    """What every side decodes: rows of ids, the tenant of each, and how many new tokens each has, its end included."""

    folder: Path
    has_random_weights: bool
    sources: Sequence[Sequence[int]]
    lengths: Sequence[int]
    tenants: Sequence[int]
    slots: int
    beams: int

    @property
    def max_new_tokens(self) -> int:
        """New tokens at most."""
        return max(self.lengths)

    def make_prefix(self, shape: Any, tenant: int) -> Prefix:
        """A tenant's prefix: keys and values as large as those of GPT-2's random weights."""
        generator = torch.Generator().manual_seed(tenant)
        size = (shape.layers, 2, shape.kv_heads, self.slots, shape.head_dim)
        return Prefix.from_site(0.5 * torch.randn(size, generator=generator))

    def find_tenant_rows(self, tenant: int) -> list[int]:
        """A tenant's rows, those with long sources first."""
        rows = [row for row, owner in enumerate(self.tenants) if owner == tenant]
        return sorted(rows, key=lambda row: -len(self.sources[row]))


def make_inputs(folder: Path, data: Path | None, count: int) -> tuple[list[list[int]], list[int]]:
    """Ids of `count` sources of E2E's test split and the lengths of their first references; else E2E's lengths."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    if data is None:
        generator = torch.Generator().manual_seed(0)
        pairs = [E2E_LENGTHS[number % len(E2E_LENGTHS)] for number in range(count)]
        ids = [torch.randint(len(tokenizer) - 1, (source - 1,), generator=generator).tolist() for source, _ in pairs]
        return [[*one, tokenizer.eos_token_id] for one in ids], [target for _, target in pairs]
    examples = import_e2e(str(data / "e2e-dataset.zip"))["test"]
    chosen = [examples[number * len(examples) // count] for number in range(count)]
    texts = TextCodec(tokenizer)
    targets = texts.encode_targets([example.references[0] for example in chosen])
    return texts.encode_sources([example.source for example in chosen]), [len(ids) for ids in targets]


def run_prefixfleet(turn: WaitForTurn, task: DecodingTask, dtype: str, rows: int, rounds: int) -> dict[str, Any]:
    """PrefixFleet's one call for all rows, `rows_by_length` of them at a time."""
    base = load_base(BaseConfig(path=str(task.folder), dtype=dtype))
    if task.has_random_weights:
        sharpen_logits(base.model)
    base.model.generation_config.forced_eos_token_id = base.eos_id
    standing = reset_peak_memory()
    prefixes = {tenant: task.make_prefix(base.shape, tenant) for tenant in set(task.tenants)}
    decoding = Decoding(num_beams=task.beams, max_new_tokens=task.max_new_tokens)

    def decode(chosen: Sequence[int]) -> list[list[int]]:
        return generate_each(
            base,
            [prefixes[task.tenants[row]] for row in chosen],
            [task.sources[row] for row in chosen],
            decoding,
            rows,
            limits=[task.lengths[row] for row in chosen],
        )

    decode(range(min(8, len(task.sources))))
    turn()
    for _ in range(rounds):
        outputs = decode(range(len(task.sources)))
        turn()
    return {"outputs": dict(enumerate(outputs)), "loaded_bytes": standing}


def run_peft_batched(turn: WaitForTurn, task: DecodingTask, dtype: str, rows: int, rounds: int) -> dict[str, Any]:
    """`peft`'s generate, `rows_by_length` inputs at a time of one tenant, sorted by length.

    With the tenant's adapter set.
    """
    model, base = _load_transformers_model(task, dtype)
    standing = reset_peak_memory()
    tenants = sorted(set(task.tenants))
    adapted = peft_training.add_prefix(model, task.slots)
    for tenant in tenants:
        if tenant != tenants[0]:
            adapted.add_adapter(_make_adapter_name(tenant), adapted.peft_config["default"])
        name = "default" if tenant == tenants[0] else _make_adapter_name(tenant)
        with torch.no_grad():
            weight = adapted.prompt_encoder[name].embedding.weight
            weight.copy_(task.make_prefix(base.shape, tenant).stack_decoder_site().permute(3, 0, 1, 2, 4).flatten(1))
    adapted.to(base.device).eval()

    def decode(chosen: Sequence[int]) -> dict[int, list[int]]:
        rows_T = [task.sources[row] for row in chosen]
        width = max(map(len, rows_T))
        ids = torch.tensor([[base.pad_id] * (width - len(one)) + [*one] for one in rows_T], device=base.device)
        real = torch.tensor([[0] * (width - len(one)) + [1] * len(one) for one in rows_T], device=base.device)
        found = adapted.generate(input_ids=ids, attention_mask=real, **_make_generate_options(task, base, chosen))[
            :, width:
        ]
        return dict(zip(chosen, _cut_at_end(found, base.eos_id), strict=True))

    decode(task.find_tenant_rows(tenants[0])[:8])
    turn()
    for _ in range(rounds):
        outputs: dict[int, list[int]] = {}
        for tenant in tenants:
            adapted.set_adapter("default" if tenant == tenants[0] else _make_adapter_name(tenant))
            order = task.find_tenant_rows(tenant)
            for start in range(0, len(order), rows):
                outputs |= decode(order[start : start + rows])
        turn()
    return {"outputs": outputs, "loaded_bytes": standing}


def run_one_at_a_time(
    turn: WaitForTurn, task: DecodingTask, dtype: str, chosen: Sequence[int], rounds: int
) -> dict[str, Any]:
    """One input after the other by transformers' generate, as Li and Liang (2021) decode; only the `chosen` rows.

    The prefix is `past_key_values`.
    """
    model, base = _load_transformers_model(task, dtype)
    standing = reset_peak_memory()
    layers = {}
    for tenant in {task.tenants[row] for row in chosen}:
        prefix = task.make_prefix(base.shape, tenant).to(model.dtype, base.device)
        own = [prefix.get_layer(index) for index in range(base.shape.layers)]
        layers[tenant] = [tuple(part[None].repeat(task.beams, 1, 1, 1) for part in layer) for layer in own]

    def decode(row: int) -> list[int]:
        source = [base.pad_id] * task.slots + [*task.sources[row]]
        ids = torch.tensor([source], device=base.device)
        cache = DynamicCache(layers[task.tenants[row]])
        values = {"attention_mask": torch.ones_like(ids), "past_key_values": cache}
        found = model.generate(ids, **values, **_make_generate_options(task, base, [row]))
        return _cut_at_end(found[:, len(source) :], base.eos_id)[0]

    decode(chosen[0])
    turn()
    for _ in range(rounds):
        outputs = {row: decode(row) for row in chosen}
        turn()
    return {"outputs": outputs, "loaded_bytes": standing}


class _ForcedEnds(LogitsProcessor):  # type: ignore[misc]
    """At its length a row's only possible token is the end, with log probability 0."""

    def __init__(self, lengths: Sequence[int], beams: int, start: int, eos: int) -> None:
        self.rows_by_length: dict[int, list[int]] = {}
        for row, length in enumerate(lengths):
            self.rows_by_length.setdefault(length, []).extend(range(row * beams, (row + 1) * beams))
        self.start, self.eos = start, eos

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        rows = self.rows_by_length.get(input_ids.shape[1] - self.start + 1)
        if rows:
            scores[rows] = -torch.inf
            scores[rows, self.eos] = 0.0
        return scores


def _make_generate_options(task: DecodingTask, base: Base, chosen: Sequence[int]) -> dict[str, Any]:
    lengths = [task.lengths[row] for row in chosen]
    start = max(len(task.sources[row]) for row in chosen) + (task.slots if len(chosen) == 1 else 0)
    return {
        "num_beams": task.beams,
        "do_sample": False,
        "early_stopping": False,
        "max_new_tokens": max(lengths),
        "eos_token_id": base.eos_id,
        "pad_token_id": base.pad_id,
        "logits_processor": LogitsProcessorList([_ForcedEnds(lengths, task.beams, start, base.eos_id)]),
    }


def _load_transformers_model(task: DecodingTask, dtype: str) -> tuple[Any, Base]:
    """The model as transformers loads it; and what we know of the base, for shapes and ids."""
    silence_transformers()
    model = transformers.AutoModelForCausalLM.from_pretrained(task.folder, dtype=getattr(torch, dtype))
    model = model.eval().to("cuda" if torch.cuda.is_available() else "cpu")
    if task.has_random_weights:
        sharpen_logits(model)
    tokenizer = transformers.AutoTokenizer.from_pretrained(task.folder)
    return model, Base(model, tokenizer, task.folder.name, "", "", 0, model.config.max_position_embeddings)


def _make_adapter_name(tenant: int) -> str:
    return f"tenant-{tenant}"


def _cut_at_end(ids_BT: Tensor, eos: int) -> list[list[int]]:
    return [ids[: ids.index(eos)] if eos in ids else ids for ids in ids_BT.tolist()]
