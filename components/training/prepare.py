"""From a tenant's examples to its best delta: encode, start, train. Knows texts, and the loop by its door."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from components.config import EngineConfig, TrainConfig
from components.data.pairs import TokenizedPairs
from components.data.schema import Example
from components.data.token_file import TokenFile
from components.data.tokens import encode_examples
from components.model.base.load import Base
from components.model.delta import Delta
from components.model.prefix.prefix import Prefix
from components.model.trainable_delta import TrainableDelta
from components.training.checkpoint import load_trained_parameters
from components.training.loop import train_alone
from components.training.run import TrainingJob, TrainResult, sample_evenly

_INIT_WORDS = 64


def fit(
    base: Base,
    config: TrainConfig,
    train: Sequence[Example],
    validation: Sequence[Example],
    *,
    engine: EngineConfig | None = None,
    **values: Any,
) -> TrainResult:
    """`prepare_job` a tenant with `values`, and train it alone; raises what these do."""
    return train_alone(base, prepare_job(base, config, train, validation, **values), engine)


def prepare_job(
    base: Base,
    config: TrainConfig,
    train: Sequence[Example],
    validation: Sequence[Example],
    *,
    tenant: str = "",
    state: Path | None = None,
    tokens: Path | None = None,
    run_key: str = "",
    log: Callable[[int, dict[str, float]], None] = lambda _step, _metrics: None,
    stop: Callable[[], bool] = lambda: False,
    name: str | Callable[[str], str] = "the examples",
    shared: Prefix | None = None,
    start: Delta | None = None,
    start_key: str = "",
    origin: str = "",
) -> TrainingJob:
    """What trains on every reference of `train`, with the best delta by the loss of `validation`'s first references.

    `shared` is the prefix that this one stands on. `start` is a trained delta to start from (a warm start); where
    `state` still holds the run that made it, under `start_key`, its reparametrisation is taken over too. `name` is
    where the examples are from (or a function from a split to it), for messages; `tokens` is a folder to keep their ids
    in; `tenant`, `state`, `run_key`, `origin`, `log` and `stop` are `TrainingJob`'s.

    Raises:
        DataError: an example exceeds the base's context.
        ConfigError: the slots fill the context, or there are no words to start from.
        BaseModelError: the base cannot take the method, or `start` is of another method or size.
    """
    pairs = [(example.source, example.references[0]) for example in train]
    module = TrainableDelta(base, config, config.init_text or find_frequent_words(train), shared, pairs)
    if start is not None:
        if state is not None:
            load_trained_parameters(state, start_key, module)
        module.load(start)
    delta, shows = module.make_delta(), module.demonstrations is not None

    def encoded(examples: Sequence[Example], split: str, *, expand: bool) -> TokenizedPairs:
        targets = _measure_longest_target(base, examples) if shows else 0
        kept = None if shows or tokens is None else tokens / f"{split}.safetensors"
        return encode_examples(
            delta.make_text_codec(base, targets, leave_out_same=split == "train"),
            examples,
            context=base.context,
            prefix_length=delta.length,
            max_source_tokens=config.max_source_tokens,
            expand_references=expand,
            separate_contexts=base.is_encoder_decoder,
            name=f"{name}, split {split}" if isinstance(name, str) else name(split),
            file=TokenFile(kept, base.tokenizer_digest) if kept else None,
        )

    return TrainingJob(
        config,
        module,
        encoded(sample_evenly(train) if shows else train, "train", expand=not shows),
        encoded(validation, "validation", expand=False),
        tenant=tenant,
        state=state,
        run_key=run_key,
        origin=origin,
        log=log,
        stop=stop,
    )


def find_frequent_words(examples: Sequence[Example]) -> str:
    """A tenant's own words to start from: the most frequent ones of its sources, the earlier met first among equals."""
    counts = Counter(word for example in examples for word in example.source.split() if any(map(str.isalnum, word)))
    return " ".join(word for word, _ in counts.most_common(_INIT_WORDS))


def _measure_longest_target(base: Base, examples: Sequence[Example]) -> int:
    texts = [example.references[0] for example in examples]
    return max(map(len, base.text_codec.encode_targets(texts)), default=0)
