"""The lengths and numbers that a base is checked with: those of the call, else those of params.yaml or the defaults."""

from dataclasses import dataclass

from components.config import Params
from components.errors import ConfigError
from components.model.base.load import Base

_TENANTS, _INPUT_TOKENS = 100, 256


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckSizes:
    """What to plan for; lengths in tokens."""

    prefix_length: int
    batch_size: int
    """Examples per training step of a tenant."""
    pass_tokens: int
    """Tokens in one training pass: `engine.train_tokens`."""
    rows: int
    """Rows that the server decodes together: `serve.rows`."""
    step_tokens: int
    """Tokens that the server reads in a step: `serve.step_tokens`."""
    input_tokens: int
    output_tokens: int
    tenants: int


def choose_sizes(
    base: Base,
    params: Params,
    *,
    prefix_length: int | None = None,
    batch_size: int | None = None,
    rows: int | None = None,
    input_tokens: int | None = None,
    output_tokens: int | None = None,
    tenants: int | None = None,
) -> CheckSizes:
    """Return the sizes; lengths that the call does not set are shortened to the base's context.

    Raises:
        ConfigError: a value is out of range, or the lengths of the call exceed the context.
    """
    named = {"prefix_length": prefix_length, "batch_size": batch_size}
    train = {key: value for key, value in named.items() if value is not None}
    params = params.override_with({"train": train}, where="the call") if train else params
    slots = 0 if base.is_encoder_decoder else params.train.prefix_length
    room = base.context if base.is_encoder_decoder else base.context - slots
    output = min(params.evaluate.max_new_tokens, room // 2) if output_tokens is None else output_tokens
    left = room if base.is_encoder_decoder else room - output
    source = min(params.train.max_source_tokens or _INPUT_TOKENS, left) if input_tokens is None else input_tokens
    if output < 1 or source < 1 or max(source, output) > room or source > left:
        wanted = f"lengths within the base's context of {base.context} tokens"
        got = f"{slots} slots, {max(source, 0)} input tokens and {max(output, 0)} output tokens"
        raise ConfigError(wanted, got, "set smaller --prefix-length, --input-tokens or --output-tokens")
    return CheckSizes(
        prefix_length=params.train.prefix_length,
        batch_size=params.train.batch_size,
        pass_tokens=params.engine.train_tokens,
        rows=params.serve.rows if rows is None else rows,
        step_tokens=params.serve.step_tokens,
        input_tokens=source,
        output_tokens=output,
        tenants=_TENANTS if tenants is None else tenants,
    )
