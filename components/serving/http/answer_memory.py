"""Remember recent answers, so that feedback on them can be given, counted and saved.

Kept in memory only, a limited number of answers and of their sources' bytes; when it is full, the tenant with most of
them loses its oldest. A corrected text is saved together with its source, because the caller sent it as an example to
train on. Does not know HTTP.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from components.registry.mlflow.versions import Version
from components.rollout.store.feedback import Feedback
from components.rollout.types import Arm, EvidenceTicket
from components.serving.errors import RefusalError
from components.serving.fair_cache import FairCache
from components.serving.http.auth import Caller
from components.serving.http.openai import FeedbackRequest


@dataclass(slots=True)
class RememberedAnswer:
    """The answer to one request."""

    version: Version
    arm: Arm
    sources: Sequence[str]
    """The source of each choice."""
    user: str | None = None
    """The request's user."""
    ticket: EvidenceTicket | None = None
    """Makes the first feedback evidence for the rollout; None: no feedback is, or the first one was given."""
    rated_choices: set[int] = field(default_factory=set)
    """Indices of the choices whose feedback has been counted."""


class AnswerMemory:
    """Completion id -> answer, for each tenant's most recent answers."""

    def __init__(self, max_answers: int, max_bytes: float = float("inf")) -> None:
        """`max_bytes` limits the answers' sources."""
        self._answers: FairCache[str, RememberedAnswer] = FairCache(max_answers, max_bytes)

    def add(self, completion_id: str, answer: RememberedAnswer) -> None:
        """Remember an answer; when the memory is full, the tenant with most answers, or bytes, loses its oldest."""
        texts = {id(source): source for source in answer.sources}  # samples of one prompt share its text
        size = sum(sys.getsizeof(text) for text in texts.values())
        self._answers.put(answer.version.tenant, completion_id, answer, size)

    def forget(self, tenant: str) -> None:
        """Forget all answers of a tenant."""
        self._answers.remove_tenant(tenant)

    @contextmanager
    def claim_first_feedback(self, feedback: FeedbackRequest) -> Iterator[tuple[bool, EvidenceTicket | None]]:
        """Give whether this is the first feedback on its choice, and the ticket if it is the first on the answer.

        An exception inside the block undoes the claim.
        """
        answer = self._answers.get(feedback.id)
        if answer is None or feedback.index in answer.rated_choices:
            yield False, None
            return
        answer.rated_choices.add(feedback.index)
        ticket, answer.ticket = answer.ticket, None
        try:
            yield True, ticket
        except Exception:
            answer.rated_choices.discard(feedback.index)
            answer.ticket = ticket or answer.ticket
            raise

    def to_feedback(self, caller: Caller, feedback: FeedbackRequest) -> Feedback:
        """Return the caller's feedback with the version that answered.

        Raises:
            RefusalError: 404, no remembered answer has this id and index, or it is another tenant's.
        """
        answer = self._answers.get(feedback.id)
        is_callers = answer is not None and caller.tenant in (None, answer.version.tenant)
        if answer is None or not is_callers or feedback.index >= len(answer.sources):
            fix = "send feedback soon after the answer, to the server that gave it"
            got = "an id or index that this server does not remember"
            raise RefusalError(404, "the id and index of an answer of yours", got, fix, code="not_found")
        return Feedback(
            tenant=answer.version.tenant,
            version=answer.version.version,
            arm=answer.arm,
            request=feedback.id,
            choice=feedback.index,
            key_id=caller.key_id,
            end_user=feedback.user if feedback.user is not None else answer.user,
            rating=feedback.rating,
            source=answer.sources[feedback.index] if feedback.text is not None else None,
            corrected=feedback.text,
        )
