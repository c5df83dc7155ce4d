"""What a base's tokenizer and chat template put around texts, and what they do with unknown letters."""

from dataclasses import dataclass
from typing import Any, Literal

from components.errors import PrefixFleetError
from components.model.base.load import Base
from components.model.base.token_limits import count_token_rows
from components.model.text.running_text import encode_plain, find_running_text

_RARE_LETTER = "\U0001fae0"
_PROBE = [{"role": "user", "content": "a"}]


@dataclass(frozen=True, slots=True)
class TokenizerFacts:
    """A tokenizer, seen from the texts of tenants. Tokens are given by their names."""

    kind: str
    """Its class, and the kind of its vocabulary."""
    vocabulary: int
    token_rows: int
    """Ids that the model has rows for."""
    lead: tuple[str, ...]
    """What comes once before a text, such as BOS."""
    eos: str
    pad: str | None
    """None: it has none, and `eos` pads rows."""
    adds_space: bool
    """Whether the space before a target is left to the tokenizer; a written one would be a second."""
    unknown: Literal["as bytes", "as the unknown token", "left out"]
    """What becomes of letters that it does not know."""
    chat: str
    """Where the chat template is, or how to name one; or why it does not work."""
    has_chat: bool
    """Whether conversations can be trained and served."""
    turn_ends: tuple[str, ...] = ()
    """The tokens that end an assistant's turn."""
    bos_from: Literal["the template", "the tokenizer", "nothing"] = "nothing"
    """What puts `lead` before a conversation."""


def describe_tokenizer(base: Base, *, has_named_template: bool = False) -> TokenizerFacts:
    """Return the facts; `has_named_template`: the chat template is that of `base.chat_template`."""
    tokenizer, running = base.tokenizer, find_running_text(base.tokenizer)
    return TokenizerFacts(
        kind=_describe_kind(tokenizer),
        vocabulary=len(tokenizer),
        token_rows=count_token_rows(base.model),
        lead=_name(tokenizer, running.lead_ids) if not base.is_encoder_decoder else (),
        eos=str(tokenizer.eos_token),
        pad=None if tokenizer.pad_token_id is None else str(tokenizer.pad_token),
        adds_space=not running.joiner,
        unknown=_find_unknown(tokenizer),
        **_describe_chat(base, running.lead_ids, has_named_template),
    )


def _describe_kind(tokenizer: Any) -> str:
    model = getattr(getattr(tokenizer, "backend_tokenizer", None), "model", None)
    name = type(tokenizer).__name__
    return name if model is None else f"{name}, {type(model).__name__}"


def _find_unknown(tokenizer: Any) -> Literal["as bytes", "as the unknown token", "left out"]:
    ids = encode_plain(tokenizer, [_RARE_LETTER])[0]
    if tokenizer.unk_token_id is not None and tokenizer.unk_token_id in ids:
        return "as the unknown token"
    return "as bytes" if tokenizer.decode(ids).strip() == _RARE_LETTER else "left out"


def _describe_chat(base: Base, lead: tuple[int, ...], has_named_template: bool) -> dict[str, Any]:
    if base.is_encoder_decoder:
        return {"chat": "conversations need a decoder-only base", "has_chat": False}
    if not base.tokenizer.chat_template:
        return {"chat": "none; name one in base.chat_template of params.yaml", "has_chat": False}
    where = "base.chat_template" if has_named_template else "the tokenizer's own"
    codec = base.chat_codec
    try:
        prompt = codec.encode_prompt(_PROBE)
        codec.encode_conversation([*_PROBE, {"role": "assistant", "content": "b"}])
    except PrefixFleetError as problem:
        return {"chat": f"{where}; it does not work: {problem}", "has_chat": False}
    bos_from = "nothing"
    if lead and prompt[: len(lead)] == [*lead]:
        bos_from = "the template" if codec.writes_lead(_PROBE) else "the tokenizer"
    ends = _name(base.tokenizer, codec.stop_ids)
    return {"chat": where, "has_chat": True, "turn_ends": ends, "bos_from": bos_from}


def _name(tokenizer: Any, ids: tuple[int, ...]) -> tuple[str, ...]:
    return tuple(map(str, tokenizer.convert_ids_to_tokens([*ids])))
