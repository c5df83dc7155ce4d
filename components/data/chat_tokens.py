"""Encodes conversations as rows of token ids and checks that they fit the base's context.

Knows neither tokenizers nor chat templates: the caller passes the encoder.

Shapes: R rows, 2 for what precedes the loss and the rest, N tokens of all rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal, Protocol

import numpy as np

from components.data.conversations import Conversation
from components.data.pairs import TokenizedPairs
from components.data.schema import Example
from components.data.token_file import TokenFile
from components.errors import DataError

Turns = Literal["all", "last"]
NumberedExamples = Sequence[tuple[int, Example]]
"""Conversations with the number of their line."""


class EncodedRow(Protocol):
    """A row of a conversation."""

    @property
    def ids(self) -> tuple[int, ...]:
        """The token ids."""

    @property
    def mask(self) -> tuple[bool, ...]:
        """For each id, whether it counts in the loss; at least one does."""


class ConversationEncoder(Protocol):
    """Encodes conversations with a base's chat template."""

    @property
    def digest(self) -> str:
        """Digest of the template."""

    def encode_conversation(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        *,
        turns: Turns = "all",
    ) -> Sequence[EncodedRow]:
        """Return the rows that train the assistant's turns, all or the last."""


@dataclass(frozen=True, slots=True)
class ChatEncoding:
    """How conversations are encoded."""

    encoder: ConversationEncoder
    turns: Turns


def encode_conversations(
    chats: ChatEncoding,
    examples: NumberedExamples,
    *,
    context: int,
    prefix_length: int,
    name: str,
    file: TokenFile | None = None,
) -> TokenizedPairs:
    """Return the rows of conversations, in their order; a conversation has one or several, and is never cut.

    `name` is the origin of the examples in error messages; `file` stores the ids.

    Raises:
        DataError: a row and the prefix exceed the context, or the chat template refuses a conversation; the message has
            the example.
        BaseModelError: the base has no chat template.
    """
    wanted = [(example.chat or "", "") for _, example in examples]
    settings = ["conversations", chats.turns, chats.encoder.digest]
    pairs = (
        _encode_rows(chats, examples, name)[0]
        if file is None
        else file.read_or_encode(wanted, settings, lambda: _encode_rows(chats, examples, name)[0])
    )
    taken_R = pairs.sizes_R2.sum(axis=1) + prefix_length
    if (too_long := np.flatnonzero(taken_R > context)).size:
        row = int(too_long[0])
        number, example = _encode_rows(chats, examples, name)[1][row]
        got = f"a conversation of {int(pairs.sizes_R2[row].sum())} tokens in example {number} of {name}"
        wanted_text = f"at most {context} tokens (the base's context), including {prefix_length} of the prefix"
        shown = example.shown_input
        raise DataError(
            wanted_text,
            f"{got} ({shown if len(shown) <= 60 else f'{shown[:57]}...'!r})",
            "shorten or divide the conversation; conversations are not cut",
        )
    return pairs


def _encode_rows(
    chats: ChatEncoding, examples: NumberedExamples, name: str
) -> tuple[TokenizedPairs, list[tuple[int, Example]]]:
    """Return the rows, and the example of each row."""
    rows: list[EncodedRow] = []
    owners: list[tuple[int, Example]] = []
    for number, example in examples:
        conversation = Conversation.from_json(example.chat or "")
        try:
            own = chats.encoder.encode_conversation(
                conversation.messages, conversation.tools or None, turns=chats.turns
            )
        except DataError as problem:
            raise DataError(problem.wanted, f"{problem.got}, in example {number} of {name}", problem.fix) from None
        rows += own
        owners += [(number, example)] * len(own)
    ids_N = np.fromiter(chain.from_iterable(row.ids for row in rows), dtype=np.int32)
    mask_N = np.fromiter(chain.from_iterable(row.mask for row in rows), dtype=np.bool_)
    starts = [row.mask.index(True) for row in rows]
    sizes = [(start, len(row.ids) - start) for start, row in zip(starts, rows, strict=True)]
    return TokenizedPairs.from_contiguous(ids_N, np.array(sizes, dtype=np.int32).reshape(-1, 2), mask_N), owners
