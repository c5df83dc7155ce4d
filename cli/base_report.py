"""The output of `base check`: lines of at most 80 columns for people, or everything as JSON. Loads no model."""

import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from components.model.base.layer_facts import LayerFacts
from components.serving.engine.memory import ServingLoad, ServingMemory
from components.stages.base_check.check import BaseCheck
from components.stages.base_check.trial import TrialResult
from components.training.memory_estimate import TrainingLoad, TrainingMemory

_WIDTH, _LABEL = 80, 14
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_SERVED = {
    "in blocks": "rows of all tenants in one batch, in blocks; they join and leave at every step",
    "in groups": "in groups: rows start together, later ones wait for the next group",
}


def make_check_lines(
    checked: BaseCheck,
    training_load: TrainingLoad,
    training: TrainingMemory,
    serving_load: ServingLoad,
    serving: ServingMemory,
) -> Iterator[str]:
    """Yield what was found, then what training and serving take."""
    yield from _describe_model(checked, training_load.prefix_length)
    yield ""
    yield "What works"
    yield from _describe_support(checked)
    yield ""
    yield "Tokenizer"
    yield from _describe_tokenizer(checked)
    yield ""
    yield "Memory (estimates)"
    yield from _describe_training_memory(training_load, training)
    yield from _describe_serving_memory(serving_load, serving)


def make_trial_lines(tried: TrialResult) -> Iterator[str]:
    """Yield how the trial went."""
    yield ""
    yield "Trial on random text"
    change = f"loss {tried.loss_before:.3f} before, {tried.loss_after:.3f} after {tried.steps:,} steps"
    if tried.loss_after >= tried.loss_before:
        change += " (it did not fall: try more --seconds; if it stays, suspect the weights)"
    yield from _wrap("training", f"{change}; {tried.training_tokens_per_s:,.0f} tokens/s, {tried.rows} examples a step")
    speed = f"{tried.generated_tokens} tokens in {tried.rows} rows, {tried.generated_tokens_per_s:,.0f} tokens/s"
    yield from _wrap("generation", f"{speed}; first: {tried.generated_text!r}")


def to_json(
    checked: BaseCheck,
    training_load: TrainingLoad,
    training: TrainingMemory,
    serving_load: ServingLoad,
    serving: ServingMemory,
    tried: TrialResult | None,
) -> dict[str, Any]:
    """Return everything that the lines say, and every layer."""
    base, tenants_together = checked.base, training_load.tenants_together
    return {
        "name": base.name,
        "digest": base.digest,
        "architecture": checked.model_class,
        "config_class": checked.config_class,
        "encoder_decoder": base.is_encoder_decoder,
        "text_model_of": checked.text_model_of or None,
        "dtype": str(base.model.dtype).removeprefix("torch."),
        "quantization": base.quantization or None,
        "device": str(base.device),
        "parameters": base.parameter_count,
        "weight_bytes": checked.weight_bytes,
        "context": base.context,
        "attention": checked.attention,
        "layers": [_layer_to_json(one) for one in checked.layers],
        "slot": {
            "values": checked.slot_values,
            "file_bytes": checked.slot_file_bytes,
            "device_bytes": checked.slot_device_bytes,
        },
        "support": asdict(checked.support),
        "tokenizer": asdict(checked.tokenizer),
        "training_memory": {
            "load": {
                **asdict(training_load),
                "tenants_together": tenants_together,
                "pass_rows": training_load.pass_rows,
            },
            "bytes": {**asdict(training), "total": training.total},
        },
        "serving_memory": {
            "load": asdict(serving_load),
            "bytes": {**asdict(serving), "total": serving.total},
        },
        "trial": None if tried is None else asdict(tried),
    }


def format_bytes(size: float) -> str:
    """Return a size with three significant digits, such as 16.6 MiB."""
    for unit in _UNITS:
        if size < 1000 or unit == _UNITS[-1]:
            break
        size /= 1024
    return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.{1 if size >= 10 else 2}f} {unit}"


def _describe_model(checked: BaseCheck, prefix_length: int) -> Iterator[str]:
    base = checked.base
    kind = "encoder-decoder" if base.is_encoder_decoder else "decoder-only"
    whole = f", the text model of {checked.text_model_of}" if checked.text_model_of else ""
    yield from _wrap("base", f"{base.name}, digest {base.digest[:12]}")
    yield from _wrap("architecture", f"{checked.model_class} ({checked.config_class}), {kind}{whole}")
    dtype = str(base.model.dtype).removeprefix("torch.")
    quantised = f", quantised ({base.quantization})" if base.quantization else ""
    yield from _wrap(
        "parameters", f"{base.parameter_count:,}, {format_bytes(checked.weight_bytes)} in {dtype}{quantised}"
    )
    separate = "for source and for target" if base.is_encoder_decoder else "for prefix, source and target together"
    yield from _wrap("context", f"{base.context:,} tokens {separate}")
    yield from _wrap("attention", checked.attention)
    with_slots = sum(not one.reason for one in checked.layers)
    count = "all" if with_slots == len(checked.layers) else f"{with_slots}"
    yield from _wrap("layers", f"{len(checked.layers)}, {count} with slots:")
    for text, number in Counter(map(_describe_layer, checked.layers)).items():
        yield from _wrap("", f"{number} x {text}")
    file, device = checked.slot_file_bytes, checked.slot_device_bytes
    yield from _wrap("one slot", f"{checked.slot_values:,} values, {format_bytes(file)} in a file (float32)")
    sizes = f"{format_bytes(prefix_length * file)} in a file, {format_bytes(prefix_length * device)} in memory"
    yield from _wrap(f"prefix of {prefix_length:,}", sizes)


def _describe_layer(layer: LayerFacts) -> str:
    if layer.reason:
        return f"without slots: {layer.reason}"
    parts = []
    for one in layer.attention:
        span = f", {one.span}" if one.site.startswith("decoder.self") else ""
        shape = one.shape
        size = f"{shape.key_dim}" if shape.key_dim == shape.value_dim else f"{shape.key_dim} and {shape.value_dim}"
        parts.append(f"{one.site}, {shape.kv_heads} key/value heads of size {size}{span}")
    return "; ".join(parts)


def _describe_support(checked: BaseCheck) -> Iterator[str]:
    support = checked.support
    rows = "rows end to end" if support.training == "packed" else "rows padded to one length"
    yield from _wrap("training", f"{support.training}: {rows}")
    yield from _wrap("greedy", support.decoding)
    yield from _wrap("beams", support.beams)
    yield from _wrap("server", _SERVED[support.serving] if support.decoding != "one by one" else "one row at a time")
    missing = "; ".join(f"not {method}: {why}" for method, why in support.missing_methods.items())
    yield from _wrap("methods", f"all of train.method{f', but {missing}' if missing else ''}")
    yield from _wrap("initial states", support.initial_states)
    yield from _wrap("conversations", "yes" if checked.tokenizer.has_chat else f"no: {checked.tokenizer.chat}")


def _describe_tokenizer(checked: BaseCheck) -> Iterator[str]:
    facts = checked.tokenizer
    spare = f", {facts.token_rows - facts.vocabulary:,} rows unused" if facts.token_rows > facts.vocabulary else ""
    yield from _wrap("kind", f"{facts.kind}; {facts.vocabulary:,} tokens, {facts.token_rows:,} rows{spare}")
    lead = " ".join(facts.lead)
    if checked.base.is_encoder_decoder:
        yield from _wrap("start", "the tokenizer's own special tokens, around source and target")
    else:
        yield from _wrap("start", f"{lead} once before a text" if lead else "no token before a text (no BOS)")
    yield from _wrap("end", f"{facts.eos} after source and target")
    yield from _wrap("padding", facts.pad or f"no token of its own; {facts.eos} is used")
    if not checked.base.is_encoder_decoder:
        yield from _wrap("space", f"before a target, {'added by the tokenizer' if facts.adds_space else 'written'}")
    yield from _wrap("new letters", facts.unknown)
    yield from _wrap("chat template", facts.chat)
    if facts.has_chat:
        start = f"{lead} comes from {facts.bos_from}; " if facts.bos_from != "nothing" else ""
        yield from _wrap("", f"{start}a turn ends with {' or '.join(facts.turn_ends)}")


def _describe_training_memory(load: TrainingLoad, memory: TrainingMemory) -> Iterator[str]:
    lengths = f"{load.input_tokens:,} + {load.output_tokens:,} tokens"
    yield from _wrap("training", f"{format_bytes(memory.total)}: {load.tenants:,} tenants, examples of {lengths}")
    yield from _wrap("", f"{format_bytes(memory.weights)} weights")
    rows = "1 example" if load.pass_rows == 1 else f"{load.pass_rows:,} examples"
    yield from _wrap("", f"{format_bytes(memory.largest_pass)} a pass of {rows}")
    together = "1 tenant" if load.tenants_together == 1 else f"{load.tenants_together:,} tenants"
    yield from _wrap(
        "", f"{format_bytes(memory.tenant_tensors)} prefixes and optimizers of {together} in training together"
    )


def _describe_serving_memory(load: ServingLoad, memory: ServingMemory) -> Iterator[str]:
    lengths = f"{load.input_tokens:,} + {load.output_tokens:,} tokens"
    yield from _wrap(
        "serving", f"{format_bytes(memory.total)}: {load.tenants:,} tenants, {load.rows:,} rows of {lengths}"
    )
    yield from _wrap("", f"{format_bytes(memory.weights)} weights")
    yield from _wrap("", f"{format_bytes(memory.prefixes)} prefixes of {load.prefix_length:,} slots")
    yield from _wrap("", f"{format_bytes(memory.cache)} caches of the rows")
    yield from _wrap("", f"{format_bytes(memory.step)} a step")


def _layer_to_json(layer: LayerFacts) -> dict[str, Any]:
    attention = [
        {
            "site": one.site,
            "kv_heads": one.shape.kv_heads,
            "key_dim": one.shape.key_dim,
            "value_dim": one.shape.value_dim,
            "span": {"kind": one.span.kind, "size": one.span.size or None},
            "soft_cap": one.is_capped,
            "sinks": one.has_sinks,
        }
        for one in layer.attention
    ]
    return {"path": layer.path, "slots": not layer.reason, "reason": layer.reason or None, "attention": attention}


def _wrap(label: str, text: str) -> list[str]:
    indent = " " * (_LABEL + 1)
    return textwrap.wrap(
        text, _WIDTH, initial_indent=f"{label:<{_LABEL}} ", subsequent_indent=indent, break_on_hyphens=False
    )
