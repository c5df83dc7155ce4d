"""Generate from texts or token ids, in the order of the inputs. Does not know data sets, metrics or files."""

from collections.abc import Callable, Sequence
from typing import Any

from components.errors import ConfigError, DataError
from components.model.base.load import Base
from components.model.decoding.decode_loop import decode
from components.model.decoding.options import Decoding
from components.model.decoding.request_queue import DecodeRequest
from components.model.delta import Delta, to_delta
from components.model.prefix.prefix import Prefix
from components.model.text.chat import ChatPrompt, remove_thoughts
from components.model.text.texts import TextCodec

SourceIds = Sequence[Sequence[int]]


def generate_text(
    base: Base,
    delta: Delta | Prefix | None,
    sources: Sequence[str | ChatPrompt],
    decoding: Decoding,
    batch_size: int,
    on_done: Callable[[int], None] | None = None,
    *,
    max_source_tokens: int | None = None,
) -> list[str]:
    """Generate the stripped target of each source text, or the assistant's turn after messages.

    With `max_source_tokens`, longer texts are cut; messages are not. `on_done(1)` is called after each finished row.

    Raises:
        DataError, BaseModelError: as `make_requests`.

    """
    requests = make_requests(base, to_delta(delta), sources, decoding, max_source_tokens)
    rows = _decode_in_order(base, requests, decoding, batch_size, on_done)
    return [decode_answer(base, source, ids) for source, ids in zip(sources, rows, strict=True)]


def decode_answer(base: Base, source: str | ChatPrompt, ids: Sequence[int]) -> str:
    """Return the generated ids after a source as text; of a turn without its end and without thoughts before it."""
    if isinstance(source, str):
        return base.text_codec.decode(ids)
    return remove_thoughts(base.chat_codec.decode(ids))


def generate_each(
    base: Base,
    deltas: Sequence[Delta | Prefix | None],
    sources: SourceIds,
    decoding: Decoding,
    batch_size: int,
    on_done: Callable[[int], None] | None = None,
    *,
    bare_sources: SourceIds | None = None,
    limits: Sequence[int] | None = None,
) -> list[list[int]]:
    """Generate after each source's token ids under its own delta, `batch_size` sources at a time.

    Return the new ids in the order of the sources, without the end-of-text id. A row ends after `max_new_tokens`, at
    its own number in `limits`, or when the context is full, whichever comes first. With guidance the base reads
    `bare_sources`. `on_done` as in `generate_text`.

    Raises:
        ConfigError: `batch_size` is below 1.
        DataError: a source is empty, or it and its prefix fill the base's context.
        BaseModelError: a delta does not fit the base.

    """
    by_id = {id(one): to_delta(one) for one in deltas}
    requests = _build_requests(
        base, [by_id[id(one)] for one in deltas], sources, decoding, bare_sources or sources, limits
    )
    return _decode_in_order(base, requests, decoding, batch_size, on_done)


def make_requests(
    base: Base,
    delta: Delta,
    sources: Sequence[str | ChatPrompt],
    decoding: Decoding,
    max_source_tokens: int | None = None,
    owner: Any = None,
) -> list[DecodeRequest]:
    """Make the requests of `decode` for these texts or messages under one delta, numbered from 0.

    Raises:
        DataError: a source and the prefix fill the base's context; or the chat template refuses messages; or messages
            are given to a method or a base for texts alone.
        BaseModelError: the delta does not fit the base, or the base has no chat template for messages.

    """
    rows = _encode(base, delta.make_text_codec(base, decoding.max_new_tokens), sources, max_source_tokens)
    bare = _encode(base, base.text_codec, sources, max_source_tokens) if delta.demonstrations else rows
    return _build_requests(base, [delta] * len(rows), rows, decoding, bare, None, owner)


def _encode(base: Base, codec: TextCodec, sources: Sequence[str | ChatPrompt], limit: int | None) -> list[list[int]]:
    chats = [source for source in sources if not isinstance(source, str)]
    if chats and (base.is_encoder_decoder or codec.demonstrations):
        got = "messages for an encoder-decoder base" if base.is_encoder_decoder else "messages for method in-context"
        fix = "use a decoder-only base and another method, or send texts"
        raise DataError("a source text", got, fix)
    texts = iter(codec.encode_sources([source for source in sources if isinstance(source, str)], limit))
    return [
        next(texts) if isinstance(source, str) else base.chat_codec.encode_prompt(source.messages, source.tools)
        for source in sources
    ]


def _build_requests(
    base: Base,
    deltas: Sequence[Delta],
    sources: SourceIds,
    decoding: Decoding,
    bare_sources: SourceIds,
    limits: Sequence[int] | None,
    owner: Any = None,
) -> list[DecodeRequest]:
    if decoding.guidance == 0:
        empty = Delta()
        deltas, sources = [empty] * len(sources), bare_sources
    for delta in {id(delta): delta for delta in deltas}.values():
        delta.check_fits(base)
    paired = base.is_encoder_decoder
    requests = []
    for number, (delta, source, bare) in enumerate(zip(deltas, sources, bare_sources, strict=True)):
        length = len(source) if paired else delta.length + len(source)
        _check_source(source, length, base.context + paired, number + 1)
        limit = min(decoding.max_new_tokens, base.context - (1 if paired else length))
        limit = limit if limits is None else min(limit, limits[number])
        requests.append(DecodeRequest(delta, source, bare, limit, number, owner))
    return requests


def _decode_in_order(
    base: Base,
    requests: Sequence[DecodeRequest],
    decoding: Decoding,
    batch_size: int,
    on_done: Callable[[int], None] | None,
) -> list[list[int]]:
    if batch_size < 1:
        raise ConfigError("a batch of at least 1 source", str(batch_size), "set evaluate.batch_size to 1 or more")
    ranks = {key: rank for rank, key in enumerate(dict.fromkeys(request.batch_key for request in requests))}
    by_key = sorted(requests, key=lambda request: ranks[request.batch_key])
    outputs: list[list[int]] = [[] for _ in requests]
    for request, ids in decode(base, by_key, decoding, batch_size):
        outputs[request.number] = ids
        if on_done:
            on_done(1)
    return outputs


def _check_source(source: Sequence[int], length: int, limit: int, number: int) -> None:
    if not source:
        raise DataError("at least one token in a source", f"none in source {number}", "end it with end-of-text")
    if length >= limit:
        got = f"{length} in source {number}, prefix included"
        wanted = f"fewer than {limit} tokens, which is what the base's context holds"
        raise DataError(wanted, got, "shorten it, or set train.max_source_tokens to cut longer sources")
