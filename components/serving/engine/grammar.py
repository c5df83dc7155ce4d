"""Keep an answer within a JSON schema: which tokens may follow is found by a grammar over the bytes of the vocabulary.

End-of-text is possible only where the answer is complete, so that an answer that ends by it is valid. Knows llguidance
and the bytes of tokens; does not know batches or other rows.

Shapes: V vocabulary.
"""

from collections.abc import Sequence
from functools import cached_property, lru_cache

import numpy as np
import torch
from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper
from torch import Tensor

from components.errors import ConfigError, DataError
from components.model.base.load import Base
from components.model.text.banned import read_token_bytes
from components.serving.engine.schema_checks import SCHEMA_FIX
from components.serving.engine.schema_process import compile_schema

_CACHED_GRAMMARS = 64
_LONGEST_PIECE = 32


class Grammar:
    """The state of one row: what it has written, and what may follow."""

    def __init__(self, matcher: LLMatcher, stop_ids: Sequence[int]) -> None:
        """Start before the first token; `stop_ids` end the row, the end-of-text id first."""
        self._matcher, self._stop_ids = matcher, list(stop_ids)
        self._read = 0
        """How many of the row's tokens the matcher has read."""

    def mask_logits(self, logits_V: Tensor, history: Sequence[int]) -> Tensor:
        """Return the logits with -inf where a token is not allowed after `history`, the row's tokens so far.

        Raises:
            DataError: no token is allowed that has another logit than -inf.
        """
        self._read_tokens(history)
        allowed_V = torch.from_numpy(np.frombuffer(self._matcher.compute_logit_bias(), np.uint8).copy()) > 0
        if problem := self._matcher.get_error():
            raise _make_limit_error(problem)
        allowed_V[self._stop_ids] = self._matcher.is_accepting()
        masked_V = logits_V.masked_fill(~allowed_V.to(logits_V.device), -torch.inf)
        if not bool(masked_V.amax() > -torch.inf):
            got = "no such token: the base's vocabulary, a banned text or logit_bias excludes all of them"
            raise DataError("a token that continues the answer in its response_format", got, SCHEMA_FIX)
        return masked_V

    def is_complete(self, history: Sequence[int]) -> bool:
        """Return whether these tokens are a whole answer."""
        self._read_tokens(history)
        return bool(self._matcher.is_accepting())

    def _read_tokens(self, history: Sequence[int]) -> None:
        for token in history[self._read :]:
            if not self._matcher.consume_token(token):
                raise _make_limit_error(self._matcher.get_error())
        self._read = len(history)


class GrammarCompiler:
    """Compiles checked schemas for one base; slow, so call it in a thread, one call at a time."""

    def __init__(self, base: Base) -> None:
        """`base` has a tokenizer that no other thread uses."""
        self._base = base
        self.compile = lru_cache(_CACHED_GRAMMARS)(self._compile)
        """A function of a schema's JSON to a matcher, which every row copies; it raises ConfigError."""

    def _compile(self, schema: str) -> LLMatcher:
        try:
            return compile_schema(schema, self._tokenizer)
        except ValueError as problem:
            got = " ".join(str(problem).split())[:400]
            raise ConfigError("response_format: a JSON schema that is valid and supported", got, SCHEMA_FIX) from None

    @cached_property
    def _tokenizer(self) -> LLTokenizer:
        vocabulary = _Vocabulary(self._base)
        wrapped = TokenizerWrapper(vocabulary)
        return LLTokenizer(wrapped, n_vocab=len(vocabulary.tokens), eos_token=self._base.eos_id)


class _Vocabulary:
    """What llguidance asks of a tokenizer: the bytes of each id, and the ids of a text."""

    bos_token_id = None

    def __init__(self, base: Base) -> None:
        size = base.model.get_output_embeddings().weight.shape[0]
        pieces = read_token_bytes(base.tokenizer, size)
        self.eos_token_id = base.eos_id
        self.special_token_ids = [number for number, piece in enumerate(pieces) if not piece]
        self.tokens = [piece or f"<|{number}|>".encode() for number, piece in enumerate(pieces)]
        self._ids = {piece: number for number, piece in enumerate(pieces) if piece}

    def __call__(self, text: str | bytes) -> list[int]:
        """Return ids of a text, the longest pieces first; used only for hints."""
        rest, ids = text.encode() if isinstance(text, str) else text, list[int]()
        while rest:
            known = (length for length in range(min(len(rest), _LONGEST_PIECE), 0, -1) if rest[:length] in self._ids)
            length = next(known, 0)
            ids += [self._ids[rest[:length]]] if length else []
            rest = rest[length or 1 :]
        return ids


def _make_limit_error(problem: str) -> DataError:
    got = " ".join(problem.replace("<non-verbose/>", "").split())[:300]
    return DataError("an answer within the limits of its response_format", got, "use a simpler schema")
