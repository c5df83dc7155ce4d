"""Encode the sources of a request: short ones at once, long ones in a thread, so that other requests do not wait.

Knows bases and texts; does not know queues or HTTP.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from components.errors import DataError
from components.model.base.load import Base
from components.model.decoding import DecodeRequest, Decoding, make_requests
from components.serving.engine.artifacts.cache import LoadedArtifact
from components.serving.engine.chat_prompts import read_conversation
from components.serving.thread_pool import FairThreadPool

_Result = TypeVar("_Result")
_MAX_CHARS_AT_ONCE = 4_000
"""About 2 ms of a tokenizer."""


class SourceEncoder:
    """Encodes for one event loop."""

    def __init__(self, base: Base) -> None:
        """Copy the tokenizer for the thread: it does not work in two threads at once."""
        self._base, self.threads_base = base, replace(base, tokenizer=copy.deepcopy(base.tokenizer))
        self._pool = FairThreadPool("encoding")

    async def encode(
        self, artifact: LoadedArtifact, sources: Sequence[str], decoding: Decoding, *, is_chat: bool = False
    ) -> dict[str, DecodeRequest]:
        """Return each different source with its ids; `is_chat`: the sources are conversations.

        The longest is encoded first, and the first error ends the work. Tenants with long sources take turns, one
        source each.

        Raises:
            DataError: a source and the prefix fill the base's context, or the base cannot read the conversation.
            BaseModelError: the delta does not fit the base.
            BusyError: too many sources wait.
        """
        longest_first = sorted(set(sources), key=len, reverse=True)
        if sum(map(len, longest_first)) <= _MAX_CHARS_AT_ONCE:
            return {source: _encode(self._base, artifact, source, decoding, is_chat) for source in longest_first}
        encoded = {}
        for source in longest_first:
            work = partial(_encode, self.threads_base, artifact, source, decoding, is_chat)
            encoded[source] = await self.run(work, artifact.tenant)
        return encoded

    async def run(self, work: Callable[[], _Result], tenant: str) -> _Result:
        """Run other work with a tokenizer in the thread, where `threads_base.tokenizer` may be used.

        Raises:
            BusyError: too much waits; and whatever `work` raises.
        """
        return await self._pool.run(work, tenant)

    def close(self) -> None:
        """End the thread; what waits for it is not encoded."""
        self._pool.close()


def check_has_text(source: str) -> None:
    """Raise DataError if a source has no text."""
    if not source.strip():
        raise DataError("a source text", "an empty text", "send text as in the tenant's data")


def _encode(base: Base, artifact: LoadedArtifact, source: str, decoding: Decoding, is_chat: bool) -> DecodeRequest:
    read = read_conversation(source) if is_chat else source
    (encoded,) = make_requests(base, artifact.delta, [read], decoding, artifact.max_source_tokens)
    return encoded
