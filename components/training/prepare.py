"""From a tenant's examples to a training job: make the module, encode the texts. Does not know steps."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from components.config import EngineConfig, InitFile, TrainConfig
from components.data.chat_tokens import ChatEncoding
from components.data.pairs import TokenizedPairs
from components.data.schema import Example
from components.data.token_file import TokenFile
from components.data.tokens import encode_examples
from components.errors import DataError
from components.model.base.load import Base
from components.model.delta import Delta
from components.model.prefix.prefix import Prefix
from components.model.text.words import split_characters_or_words
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
    """Prepare a job (`values` go to `prepare_job`) and train it alone. Raises as `prepare_job` and `train_alone`."""
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
    max_unknown: float = 1.0,
) -> TrainingJob:
    """Make a job that trains on all references in `train` and validates on the first references in `validation`.

    `tokens` is a folder that caches the token ids. `name` is the source of the examples for messages, or a function
    from a split's name to it. `shared` is the prefix that this one builds on. `start` is a trained delta for a warm
    start; if `state` still holds the run that made it, with the key `start_key`, its reparametrisation is used too.
    `max_unknown` is the share of tokens that the tokenizer may not know. The other arguments are fields of
    `TrainingJob`.

    Raises:
        DataError: an example exceeds the base's context, or more tokens than `max_unknown` are unknown; or a
            conversation is not for this method, base or chat template.
        ConfigError: the slots fill the context, or there are no words to initialize from.
        BaseModelError: the base does not support the method, or `start` has another method or size.
    """
    if config.method == "in-context" and any(example.chat is not None for example in (*train, *validation)):
        fix = "use another method, or deliver pairs of source and references"
        raise DataError("pairs for method in-context", "conversations", fix)
    pairs = [(example.source, example.references[0]) for example in train]
    assert not isinstance(config.init_text, InitFile)  # noqa: S101 - the stages read it
    module = TrainableDelta(base, config, config.init_text or find_frequent_words(train), shared, pairs)
    if start is not None:
        if state is not None:
            load_trained_parameters(state, start_key, module)
        module.load(start)
    delta, has_demonstrations = module.make_delta(), module.demonstrations is not None

    def encode(examples: Sequence[Example], split: str, *, expand: bool) -> TokenizedPairs:
        target_tokens = _measure_longest_target(base, examples) if has_demonstrations else 0
        cache = None if has_demonstrations or tokens is None else tokens / f"{split}.safetensors"
        return encode_examples(
            delta.make_text_codec(base, target_tokens, leave_out_same=split == "train"),
            examples,
            context=base.context,
            prefix_length=delta.length,
            max_source_tokens=config.max_source_tokens,
            expand_references=expand,
            separate_contexts=base.is_encoder_decoder,
            name=f"{name}, split {split}" if isinstance(name, str) else name(split),
            file=TokenFile(cache, base.tokenizer_digest) if cache else None,
            max_unknown=1.0 if has_demonstrations else max_unknown,
            chats=None if has_demonstrations else ChatEncoding(base.chat_codec, config.turns),
        )

    return TrainingJob(
        config,
        module,
        encode(sample_evenly(train) if has_demonstrations else train, "train", expand=not has_demonstrations),
        encode(validation, "validation", expand=False),
        tenant=tenant,
        state=state,
        run_key=run_key,
        origin=origin,
        log=log,
        stop=stop,
    )


def find_frequent_words(examples: Sequence[Example]) -> str:
    """Return the most frequent words of a tenant's sources, to initialize from; ties keep the order of appearance.

    Each character of a script without spaces between words counts as a word.
    """
    words = (word for example in examples for text in example.input_texts for word in split_characters_or_words(text))
    counts = Counter(word for word in words if any(map(str.isalnum, word)))
    return " ".join(word for word, _ in counts.most_common(_INIT_WORDS))


def _measure_longest_target(base: Base, examples: Sequence[Example]) -> int:
    texts = [example.references[0] for example in examples]
    return max(map(len, base.text_codec.encode_targets(texts)), default=0)
