"""`peft` prefix tuning trained by `transformers.Trainer`, with default settings and with settings that make it faster.

It has the same examples, padding function, optimizer and schedule as PrefixFleet. Validation, saving, logging and
dropout are off; PrefixFleet trains without dropout too.

Shapes: P prefix slots, O values of a slot (layers x 2 x heads x head size).
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from harness.alternating_runs import WaitForTurn, reset_peak_memory
from harness.random_bases import make_zero_dropouts, silence_transformers
from peft import PrefixTuningConfig, TaskType, get_peft_model

from components.config import TrainConfig
from components.data.batches import collate
from components.data.pairs import TokenizedPair
from components.data.schema import Example
from components.data.tokens import encode_examples
from components.model.text.texts import TextCodec


@dataclass(frozen=True)
class PeftSetting:
    """Settings that a user of `peft` can choose."""

    autocast: bool = False
    """`Trainer(bf16=True)`."""
    dtype: str = "float32"
    """Dtype of the base; the prefix is in float32."""
    grouped: bool = False
    """`train_sampling_strategy="group_by_length"`, or "sequential" if the examples are grouped already."""
    workers: int = 0
    """Number of processes that prepare batches."""
    compiled: bool = False
    """`torch_compile=True`."""


SETTINGS = {
    "peft": PeftSetting(),
    "peft-grouped": PeftSetting(grouped=True),
    "peft-bf16": PeftSetting(autocast=True),
    "peft-bf16-grouped": PeftSetting(autocast=True, grouped=True),
    "peft-bf16-weights": PeftSetting(dtype="bfloat16"),
    "peft-bf16-weights-grouped": PeftSetting(dtype="bfloat16", grouped=True),
    "peft-bf16-weights-grouped-workers": PeftSetting(dtype="bfloat16", grouped=True, workers=1),
    "peft-bf16-weights-grouped-compiled": PeftSetting(dtype="bfloat16", grouped=True, compiled=True),
}
BEST_SETTING = "peft-bf16-grouped"


def load_model(folder: Path, setting: PeftSetting) -> tuple[Any, Any]:
    """Load the base with transformers, and its tokenizer."""
    silence_transformers()
    dtype = getattr(torch, setting.dtype)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, **make_zero_dropouts(folder))
    return model, transformers.AutoTokenizer.from_pretrained(folder)


def add_prefix(model: Any, length: int) -> Any:
    """Return the base with a new prefix of peft's, without its MLP."""
    config = PrefixTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=length, prefix_projection=False)
    return get_peft_model(model, config)


def find_prefix_values(model: Any) -> torch.nn.Parameter:
    """Return the trained values [P, O] of `add_prefix`'s model."""
    parameter: torch.nn.Parameter = model.prompt_encoder["default"].embedding.weight
    return parameter


def encode_pairs(tokenizer: Any, examples: Sequence[Example], prefix_length: int) -> list[TokenizedPair]:
    """Encode examples as PrefixFleet does."""
    return encode_examples(
        TextCodec(tokenizer),
        examples,
        context=tokenizer.model_max_length,
        prefix_length=prefix_length,
        max_source_tokens=None,
        expand_references=True,
    )


def make_inputs(pairs: Sequence[TokenizedPair], pad_id: int) -> dict[str, torch.Tensor]:
    """Make a batch for a transformers model, without loss on source and padding."""
    batch = collate(pairs, pad_id)
    return {
        "input_ids": batch.input_ids_BT,
        "attention_mask": batch.attention_mask_BT,
        "labels": batch.labels_BT,
    }


def train_in_rounds(
    wait_for_turn: WaitForTurn,
    folder: Path,
    setting: PeftSetting,
    config: TrainConfig,
    examples: Sequence[Example],
    rounds: int,
) -> dict[str, Any]:
    """Train one epoch to warm up and one for each round, on examples that are grouped by length."""
    model, tokenizer = load_model(folder, setting)
    loaded_bytes = reset_peak_memory(model)
    pairs = encode_pairs(tokenizer, examples, config.prefix_length)
    model = add_prefix(model, config.prefix_length)
    order = "sequential" if setting.grouped else "random"
    _train(model, pairs, tokenizer.eos_token_id, setting, config, order, epochs=rounds + 1, after_epoch=wait_for_turn)
    return {"loaded_bytes": loaded_bytes, "stored_bytes": find_prefix_values(model).nbytes}


def train_each(
    wait_for_turn: WaitForTurn,
    folder: Path,
    setting: PeftSetting,
    config: TrainConfig,
    tenants: Sequence[Sequence[Example]],
) -> dict[str, Any]:
    """Train one epoch for each tenant, one tenant after the other on one base; `wait_for_turn` after each."""
    base, tokenizer = load_model(folder, setting)
    loaded_bytes = reset_peak_memory(base)

    def train(examples: Sequence[Example]) -> None:
        model = add_prefix(base, config.prefix_length)
        pairs = encode_pairs(tokenizer, examples, config.prefix_length)
        order = "group_by_length" if setting.grouped else "random"
        _train(model, pairs, tokenizer.eos_token_id, setting, config, order, epochs=1)

    train(tenants[0][: 2 * config.batch_size])
    wait_for_turn()
    for examples in tenants:
        train(examples)
        wait_for_turn()
    return {"loaded_bytes": loaded_bytes}


def _train(
    model: Any,
    pairs: Sequence[TokenizedPair],
    pad_id: int,
    setting: PeftSetting,
    config: TrainConfig,
    order: str,
    *,
    epochs: int,
    after_epoch: WaitForTurn = lambda: None,
) -> None:
    class AfterEpoch(transformers.TrainerCallback):  # type: ignore[misc]
        def on_epoch_end(self, *_args: Any, **_more: Any) -> None:
            after_epoch()

    with tempfile.TemporaryDirectory() as scratch:
        arguments = transformers.TrainingArguments(
            output_dir=scratch,
            use_cpu=not torch.cuda.is_available(),
            per_device_train_batch_size=config.batch_size,
            num_train_epochs=epochs,
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
            max_grad_norm=config.max_grad_norm,
            bf16=setting.autocast,
            torch_compile=setting.compiled,
            train_sampling_strategy=order,
            dataloader_num_workers=setting.workers,
            dataloader_persistent_workers=setting.workers > 0,
            remove_unused_columns=False,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        trainer = transformers.Trainer(
            model=model,
            args=arguments,
            train_dataset=[{"input_ids": pair.source_ids + pair.target_ids, "pair": pair} for pair in pairs],
            data_collator=partial(_collate_rows, pad_id=pad_id),
            callbacks=[AfterEpoch()],
        )
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train()


def _collate_rows(rows: Sequence[dict[str, Any]], *, pad_id: int) -> dict[str, torch.Tensor]:
    return make_inputs([row["pair"] for row in rows], pad_id)
