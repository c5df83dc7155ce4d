"""A short trial of a base on random text: a few training steps of one prefix, then a few generated tokens.

Shows that a prefix learns on the base and how fast this machine is. Does not say how well the base suits any data.
"""

import random
import time
from dataclasses import dataclass

from components.config import TrainConfig
from components.data.schema import Example
from components.model.base.load import Base
from components.model.decoding import Decoding, generate_each
from components.training.loop import train_alone
from components.training.prepare import prepare_job

_ROWS, _STEPS, _NEW_TOKENS = 4, 50, 16
_SOURCE_TOKENS, _TARGET_TOKENS = 24, 12
_TRAINING_SHARE = 0.7
"""Share of the seconds after which no further step begins."""
_TRIES = 50


@dataclass(frozen=True, slots=True)
class TrialResult:
    """What the trial showed. Losses in nats per target token, on the examples that it trained on."""

    steps: int
    loss_before: float
    loss_after: float
    """The lowest after a step."""
    training_tokens_per_s: float
    rows: int
    """Examples per step, and rows that were decoded together."""
    generated_tokens: int
    generated_tokens_per_s: float
    generated_text: str


def try_base(base: Base, prefix_length: int, seconds: float) -> TrialResult:
    """Train a prefix for about 70 % of `seconds`, at least one step, and generate with it.

    Raises:
        TrainingError: the loss is not finite, or there is too little memory.
        BaseModelError: there is too little memory to decode.
    """
    config = TrainConfig(
        prefix_length=max(1, prefix_length),
        initialization="random",
        batch_size=_ROWS,
        max_steps=_STEPS,
        warmup_steps=0,
        validate_every=1,
    )
    losses: list[float] = []
    deadline_s: list[float] = []

    def record(_step: int, metrics: dict[str, float]) -> None:
        losses.append(metrics["validation_loss"])
        deadline_s[:] = deadline_s or [time.monotonic() + _TRAINING_SHARE * seconds]

    def is_over() -> bool:
        return len(losses) > 1 and time.monotonic() > deadline_s[0]

    room = (base.context - config.prefix_length) // 2
    examples = make_random_examples(base, min(_SOURCE_TOKENS, room - 2), min(_TARGET_TOKENS, room - 2))
    job = prepare_job(base, config, examples, examples, log=record, stop=is_over)
    tokens = sum(pair.length for pair in job.train)
    result = train_alone(base, job)
    new_tokens = min(_NEW_TOKENS, room - 2)
    decoding = Decoding(max_new_tokens=new_tokens, min_new_tokens=new_tokens)
    sources = base.text_codec.encode_sources([example.source for example in examples])
    started_s = time.monotonic()
    rows = generate_each(base, [result.delta] * len(sources), sources, decoding, len(sources))
    seconds_taken = time.monotonic() - started_s
    count = sum(map(len, rows))
    return TrialResult(
        result.steps,
        losses[0],
        min(losses[1:]),
        tokens * result.steps / result.seconds,
        len(sources),
        count,
        count / seconds_taken,
        base.text_codec.decode(rows[0]),
    )


def make_random_examples(base: Base, source_tokens: int, target_tokens: int) -> list[Example]:
    """Make examples of random tokens of the base's vocabulary, without special tokens; the same at every call."""
    chooser = random.Random(0)  # noqa: S311 - not for security
    special = set(base.tokenizer.all_special_ids)
    known = [number for number in sorted(base.tokenizer.get_vocab().values()) if number not in special]

    def make_text(tokens: int) -> str:
        for _ in range(_TRIES):
            text = str(base.tokenizer.decode(chooser.choices(known, k=tokens))).strip()
            size = len(base.text_codec.encode_words(text)) if text else 0
            if text and size <= 2 * tokens:
                return text
        return "a"

    return [Example(make_text(source_tokens), (make_text(target_tokens),)) for _ in range(_ROWS)]
