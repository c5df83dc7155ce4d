"""Answers that feedback can still be given to, and the feedback that becomes a count and perhaps an example.

Kept in memory alone, the newest so many; a corrected text is written down with its source, since its caller gave it to
be learnt from. Knows no HTTP.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from components.registry.mlflow.versions import Version
from components.rollout.store.feedback import Feedback
from components.rollout.types import Arm, EvidenceTicket
from components.serving.errors import RefusalError
from components.serving.http.auth import Caller
from components.serving.http.openai import FeedbackRequest


@dataclass(slots=True)
class RememberedAnswer:
    """One request's answer."""

    version: Version
    arm: Arm
    sources: Sequence[str]
    """Of each choice."""
    ticket: EvidenceTicket | None = None
    """What makes an opinion on it evidence; the first takes it."""
    rated_choices: set[int] = field(default_factory=set)
    """Choices on which an opinion has been counted."""


class AnswerMemory:
    """The newest answers by the id of their completion."""

    def __init__(self, size: int) -> None:
        self._max_answers = size
        self._answers: OrderedDict[str, RememberedAnswer] = OrderedDict()

    def add(self, name: str, answer: RememberedAnswer) -> None:
        """Remember an answer, and forget the oldest where there are too many."""
        self._answers[name] = answer
        while len(self._answers) > self._max_answers:
            self._answers.popitem(last=False)

    def forget(self, tenant: str) -> None:
        """Forget everything of a tenant."""
        for name in [name for name, answer in self._answers.items() if answer.version.tenant == tenant]:
            del self._answers[name]

    @contextmanager
    def claim_first_feedback(self, said: FeedbackRequest) -> Iterator[tuple[bool, EvidenceTicket | None]]:
        """Whether this is the first word on a choice, and so one that counts; the ticket, if it is the first on any.

        Where the block fails to keep it, it has not been said.
        """
        answer = self._answers.get(said.id)
        if answer is None or said.index in answer.rated_choices:
            yield False, None
            return
        answer.rated_choices.add(said.index)
        ticket, answer.ticket = answer.ticket, None
        try:
            yield True, ticket
        except Exception:
            answer.rated_choices.discard(said.index)
            answer.ticket = ticket or answer.ticket
            raise

    def to_feedback(self, caller: Caller, said: FeedbackRequest) -> Feedback:
        """What a caller said, with the version that it was said of.

        Raises:
            RefusalError: 404, no such answer of the caller's.
        """
        answer = self._answers.get(said.id)
        if answer is None or caller.tenant not in (None, answer.version.tenant) or said.index >= len(answer.sources):
            fix = "give feedback soon after the answer, to the server that gave it"
            raise RefusalError(404, "the id of a completion of yours", "none that is remembered", fix, code="not_found")
        return Feedback(
            tenant=answer.version.tenant,
            version=answer.version.version,
            arm=answer.arm,
            request=said.id,
            rating=said.rating,
            source=answer.sources[said.index] if said.text is not None else None,
            corrected=said.text,
        )
