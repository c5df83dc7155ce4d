"""The contenders of the decoding benchmark: PrefixFleet, `peft`'s batched generate, and one input at a time.

All have the same prefixes, the same rows of ids and the same number of beams. A model with random weights does not end
its texts, so each row has a length at which its end is forced. Before that no end occurs: the end token's embedding is
zero, so its logit is far below those of the beams (the last layer norm is scaled up, so that logits differ as a trained
model's do). In transformers a `LogitsProcessor` forces the end, in PrefixFleet the row's limit; both give it the log
probability 0. A base given by its folder keeps its weights and may end a row earlier.

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
    """The rows that every contender decodes: ids, tenants, and numbers of new tokens including the end token."""

    folder: Path
    has_random_weights: bool
    sources: Sequence[Sequence[int]]
    lengths: Sequence[int]
    tenants: Sequence[int]
    slots: int
    beams: int

    @property
    def max_new_tokens(self) -> int:
        """Largest number of new tokens of a row."""
        return max(self.lengths)

    def make_prefix(self, shape: Any, tenant: int) -> Prefix:
        """Make a tenant's random prefix, with values of the size that GPT-2's random weights produce."""
        generator = torch.Generator().manual_seed(tenant)
        size = (shape.layers, 2, shape.kv_heads, self.slots, shape.head_dim)
        return Prefix.from_site(0.5 * torch.randn(size, generator=generator))

    def find_tenant_rows(self, tenant: int) -> list[int]:
        """Return a tenant's rows, those with the longest sources first."""
        rows = [row for row, owner in enumerate(self.tenants) if owner == tenant]
        return sorted(rows, key=lambda row: -len(self.sources[row]))


def make_inputs(folder: Path, data: Path | None, count: int) -> tuple[list[list[int]], list[int]]:
    """Return ids and numbers of new tokens of `count` inputs: E2E's test split, or random ids of E2E's lengths."""
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


def run_prefixfleet(
    wait_for_turn: WaitForTurn, task: DecodingTask, dtype: str, rows: int, rounds: int
) -> dict[str, Any]:
    """Decode with one call of PrefixFleet for all inputs, `rows` of them in a batch."""
    base = load_base(BaseConfig(path=str(task.folder), dtype=dtype))
    if task.has_random_weights:
        sharpen_logits(base.model)
    base.model.generation_config.forced_eos_token_id = base.eos_id
    loaded_bytes = reset_peak_memory()
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
    wait_for_turn()
    for _ in range(rounds):
        outputs = decode(range(len(task.sources)))
        wait_for_turn()
    return {"outputs": dict(enumerate(outputs)), "loaded_bytes": loaded_bytes}


def run_peft_batched(
    wait_for_turn: WaitForTurn, task: DecodingTask, dtype: str, rows: int, rounds: int
) -> dict[str, Any]:
    """Decode with `peft`'s generate: batches of `rows` inputs of one tenant, sorted by length, with its adapter set."""
    model, base = _load_transformers_model(task, dtype)
    loaded_bytes = reset_peak_memory()
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
        generated = adapted.generate(input_ids=ids, attention_mask=real, **_make_generate_options(task, base, chosen))
        return dict(zip(chosen, _cut_at_end(generated[:, width:], base.eos_id), strict=True))

    decode(task.find_tenant_rows(tenants[0])[:8])
    wait_for_turn()
    for _ in range(rounds):
        outputs: dict[int, list[int]] = {}
        for tenant in tenants:
            adapted.set_adapter("default" if tenant == tenants[0] else _make_adapter_name(tenant))
            order = task.find_tenant_rows(tenant)
            for start in range(0, len(order), rows):
                outputs |= decode(order[start : start + rows])
        wait_for_turn()
    return {"outputs": outputs, "loaded_bytes": loaded_bytes}


def run_one_at_a_time(
    wait_for_turn: WaitForTurn, task: DecodingTask, dtype: str, chosen: Sequence[int], rounds: int
) -> dict[str, Any]:
    """Decode the `chosen` rows one after the other with transformers' generate, as Li and Liang (2021) do.

    The prefix is passed as `past_key_values`.
    """
    model, base = _load_transformers_model(task, dtype)
    loaded_bytes = reset_peak_memory()
    layers = {}
    for tenant in {task.tenants[row] for row in chosen}:
        prefix = task.make_prefix(base.shape, tenant).to(model.dtype, base.device)
        own_layers = [prefix.get_layer(index) for index in range(base.shape.layers)]
        layers[tenant] = [tuple(part[None].repeat(task.beams, 1, 1, 1) for part in layer) for layer in own_layers]

    def decode(row: int) -> list[int]:
        source = [base.pad_id] * task.slots + [*task.sources[row]]
        ids = torch.tensor([source], device=base.device)
        cache = DynamicCache(layers[task.tenants[row]])
        values = {"attention_mask": torch.ones_like(ids), "past_key_values": cache}
        generated = model.generate(ids, **values, **_make_generate_options(task, base, [row]))
        return _cut_at_end(generated[:, len(source) :], base.eos_id)[0]

    decode(chosen[0])
    wait_for_turn()
    for _ in range(rounds):
        outputs = {row: decode(row) for row in chosen}
        wait_for_turn()
    return {"outputs": outputs, "loaded_bytes": loaded_bytes}


class _ForcedEnds(LogitsProcessor):  # type: ignore[misc]
    """Allows only the end token when a row has reached its length, with log probability 0."""

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
    """Load the model with transformers; also return it as a `Base`, for its shapes and ids."""
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
