"""What an endpoint that generates text has of its own: how a body becomes rows, and how an answer is written.

Knows the protocol's data types; does not know the service or HTTP.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from components.config import Params
from components.registry.mlflow.versions import Version
from components.serving.http.openai_fields import GenerationBody, Usage
from components.serving.interface import AnswerPiece, GenerationRequest, Token
from components.serving.request_sequences import SequenceResult


@dataclass(frozen=True, slots=True)
class AnswerStamp:
    """What every part of an answer has."""

    id: str
    created: int
    """Seconds since 1970."""
    model: str


class AnswerForm(ABC):
    """One request's body, and the form of its answer."""

    id_start: str
    """Start of the answer's id."""

    @property
    @abstractmethod
    def body(self) -> GenerationBody:
        """The request."""

    @abstractmethod
    def make_rows(self, version: Version, params: Params) -> list[GenerationRequest]:
        """Return one row for each prompt and sample, the samples of a prompt side by side; `params` are the tenant's.

        Raises:
            DataError, RefusalError: 400, nothing to answer, or more than the tenant's `access` section allows.
        """

    @abstractmethod
    def write_answer(
        self,
        stamp: AnswerStamp,
        results: Sequence[SequenceResult],
        tokens: Sequence[Sequence[Token]],
        usage: Usage,
    ) -> BaseModel:
        """Return the whole answer; `tokens` are those of each row."""

    @abstractmethod
    def write_piece(self, stamp: AnswerStamp, index: int, piece: AnswerPiece) -> list[BaseModel]:
        """Return the chunks of a stream for a piece of the row `index`."""

    @abstractmethod
    def write_usage(self, stamp: AnswerStamp, usage: Usage) -> BaseModel:
        """Return the last chunk of a stream whose client wants the usage."""
