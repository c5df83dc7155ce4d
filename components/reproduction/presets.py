"""Presets of hyperparameters: `paper` is the appendix of Li & Liang 2021, `small` suits a base of a few million values.

A recipe defines how one method of METHODS is trained on one task. Learning rates are for AdamW with a linear schedule
and no weight decay, unless a recipe sets one. Knows no data and no base.

The authors' GPT-2 code sums the loss of a prefix over a sequence and averages all other losses over tokens; `paper`
does the same. `small` trains keys and values directly, without the MLP, which needs rates of about 0.1 (docs/log.md).
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from components.errors import ConfigError

Preset = Literal["paper", "small"]
Task = Literal["e2e", "webnlg", "dart", "summarisation"]

PRESETS: tuple[Preset, ...] = ("paper", "small")
TASK_INIT_TEXTS: dict[Task, str] = {
    "e2e": "table-to-text:",
    "webnlg": "table-to-text:",
    "dart": "table-to-text:",
    "summarisation": "summarize",
}
LOW_DATA_STEPS, LOW_DATA_WARMUP_STEPS, LOW_DATA_VALIDATE_EVERY = 400, 100, 50

METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "full": ("full fine-tuning", {"method": "full"}),
    "top-2": ("top 2 layers", {"method": "top-k", "top_layers": 2}),
    "adapter-3": ("adapter 3 %", {"method": "adapter", "adapter_share": 0.03}),
    "adapter-0.1": ("adapter 0.1 %", {"method": "adapter", "adapter_share": 0.001}),
    "lora": ("LoRA", {"method": "lora"}),
    "prefix": ("prefix", {"method": "prefix"}),
    "prefix-2": ("prefix 2 %", {"method": "prefix"}),
    "prefix-0.1": ("prefix 0.1 %", {"method": "prefix"}),
    "infix": ("infix", {"method": "infix"}),
    "embedding": ("embedding only", {"method": "embedding"}),
    "in-context": ("in context, nearest", {"method": "in-context", "demonstration_choice": "nearest"}),
    "base": ("base alone", {}),
}
"""Name on the command line -> label in tables, and the keys of the train config that select the method."""
UNTRAINED_METHODS = ("in-context", "base")


@dataclass(frozen=True, slots=True)
class MethodRecipe:
    """How one method is trained on one task."""

    learning_rate: float
    epochs: int
    batch_size: int
    prefix_length: int = 0
    """Number of slots; 0 if `prefix_share` is set or the method has no slots."""
    prefix_share: float = 0.0
    """Trained values as a share of the base's, which determines the number of slots; 0 if `prefix_length` is set."""
    mlp_hidden: int = 0
    loss: Literal["token-mean", "sequence-sum"] = "token-mean"
    warmup_steps: int = 0
    weight_decay: float = 0.0
    initialization: Literal["text", "random"] = "text"
    extra_train_keys: Mapping[str, Any] = field(default_factory=dict)
    """Other keys of the train config."""


def find_recipe(preset: str, task: Task, method: str) -> MethodRecipe:
    """Return the recipe of a method of METHODS on a task.

    Raises:
        ConfigError: there is no such preset, or it has no recipe for this method on this task.
    """
    if preset not in PRESETS:
        raise make_unknown_name_error("preset", preset, PRESETS)
    recipes = _PAPER_RECIPES if preset == "paper" else _SMALL_RECIPES
    if (task, method) not in recipes:
        known = [name for name in METHODS if (task, name) in recipes]
        got = f"none for {method} on {task}"
        raise ConfigError(f"a recipe of preset {preset}", got, f"choose one of {', '.join(known)}")
    return recipes[task, method]


def make_unknown_name_error(kind: str, got: str, known: tuple[str, ...] | list[str]) -> ConfigError:
    """Make the error for an unknown name, with the most similar known one."""
    near = difflib.get_close_matches(got, known, n=1, cutoff=0.5)
    fix = f"did you mean {near[0]!r}?" if near else "choose one of these"
    article = "an" if kind[0] in "aeiou" else "a"
    return ConfigError(f"{article} {kind} of {', '.join(known)}", repr(got), fix)


def _make_paper_recipes() -> dict[tuple[Task, str], MethodRecipe]:
    """Make the recipes: the appendix's learning rates, epochs, batch sizes and lengths, and some that it lacks."""
    prefix = MethodRecipe(0, 0, 0, mlp_hidden=512, loss="sequence-sum")
    rows: dict[tuple[Task, str], MethodRecipe] = {
        ("e2e", "prefix"): replace(prefix, learning_rate=8e-5, epochs=5, batch_size=10, prefix_length=5),
        ("webnlg", "prefix"): replace(prefix, learning_rate=5e-5, epochs=5, batch_size=5, prefix_length=5),
        ("dart", "prefix"): replace(prefix, learning_rate=5e-5, epochs=10, batch_size=5, prefix_length=10),
        ("summarisation", "prefix"): MethodRecipe(5e-5, 30, 14, prefix_length=100, mlp_hidden=800),
        ("e2e", "full"): MethodRecipe(5e-5, 5, 10),
        ("webnlg", "full"): MethodRecipe(1e-5, 10, 6),
        ("dart", "full"): MethodRecipe(1e-5, 10, 6),
        ("e2e", "top-2"): MethodRecipe(5e-5, 5, 10),
        ("webnlg", "top-2"): MethodRecipe(5e-5, 10, 9),
        ("dart", "top-2"): MethodRecipe(5e-5, 5, 5),
        ("e2e", "adapter-3"): MethodRecipe(5e-5, 5, 5),
        ("webnlg", "adapter-3"): MethodRecipe(5e-5, 5, 5),
        ("dart", "adapter-3"): MethodRecipe(5e-5, 5, 5),
        ("e2e", "adapter-0.1"): MethodRecipe(8e-5, 10, 5),
        ("webnlg", "adapter-0.1"): MethodRecipe(5e-5, 10, 5),
        ("dart", "adapter-0.1"): MethodRecipe(8e-5, 5, 5),
        # The appendix has no line for these. Here: BART's own rate on XSUM; below: the LoRA paper's settings.
        ("summarisation", "full"): MethodRecipe(3e-5, 5, 14, warmup_steps=500),
    }
    lora = MethodRecipe(
        2e-4, 5, 8, warmup_steps=500, weight_decay=0.01, extra_train_keys={"lora_rank": 4, "lora_alpha": 32}
    )
    for task in ("e2e", "webnlg", "dart"):
        rows[task, "lora"] = lora
        rows[task, "infix"] = rows[task, "embedding"] = rows[task, "prefix"]
        rows[task, "embedding"] = replace(rows[task, "prefix"], mlp_hidden=0)
    rows["summarisation", "prefix-2"] = rows["summarisation", "prefix"]
    rows["summarisation", "prefix-0.1"] = replace(rows["summarisation", "prefix"], prefix_length=5)
    return rows


def _make_small_recipes() -> dict[tuple[Task, str], MethodRecipe]:
    rows: dict[tuple[Task, str], MethodRecipe] = {}
    for task in ("e2e", "webnlg", "dart"):
        rows[task, "full"] = rows[task, "top-2"] = MethodRecipe(1e-3, 5, 16, warmup_steps=20)
        rows[task, "adapter-3"] = MethodRecipe(5e-3, 5, 16, warmup_steps=20)
        rows[task, "adapter-0.1"] = MethodRecipe(3e-2, 5, 16, warmup_steps=20)
        rows[task, "lora"] = MethodRecipe(
            2e-2, 5, 16, warmup_steps=20, extra_train_keys={"lora_rank": 4, "lora_alpha": 8}
        )
        rows[task, "prefix"] = rows[task, "infix"] = MethodRecipe(0.2, 5, 16, prefix_length=20, warmup_steps=20)
        rows[task, "embedding"] = MethodRecipe(0.2, 5, 16, prefix_length=20, warmup_steps=20)
    summaries = MethodRecipe(0.1, 30, 8, warmup_steps=20)
    rows["summarisation", "full"] = MethodRecipe(5e-4, 10, 8, warmup_steps=20)
    rows["summarisation", "prefix"] = rows["summarisation", "prefix-2"] = replace(summaries, prefix_share=0.02)
    rows["summarisation", "prefix-0.1"] = replace(summaries, prefix_share=0.001)
    return rows


_PAPER_RECIPES = _make_paper_recipes()
_SMALL_RECIPES = _make_small_recipes()
