"""Remember recent answers, so that feedback on them can be given and saved.

A limited number of answers and of their sources' bytes; when it is full, the tenant with most of them loses its oldest.
`answer_sharing` writes them to the database, for the other servers. A corrected text is saved together with its source,
because the caller sent it as an example to train on. Does not know HTTP.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
    """Makes the first feedback evidence for the rollout; None: no feedback is."""


class AnswerMemory:
    """Completion id -> answer, for each tenant's most recent answers."""

    def __init__(
        self, max_answers: int, max_bytes: float = float("inf"), on_drop: Callable[[str], None] | None = None
    ) -> None:
        """`max_bytes` limits the answers' sources; `on_drop` is called with the id of each answer that is forgotten."""
        self._answers: FairCache[str, RememberedAnswer] = FairCache(max_answers, max_bytes, on_drop)

    def add(self, completion_id: str, answer: RememberedAnswer) -> None:
        """Remember an answer; when the memory is full, the tenant with most answers, or bytes, loses its oldest."""
        texts = {id(source): source for source in answer.sources}  # samples of one prompt share its text
        size = sum(sys.getsizeof(text) for text in texts.values())
        self._answers.put(answer.version.tenant, completion_id, answer, size)

    def forget(self, tenant: str) -> None:
        """Forget all answers of a tenant."""
        self._answers.remove_tenant(tenant)

    def find(self, completion_id: str) -> RememberedAnswer | None:
        """Return the answer with this id, of any tenant."""
        return self._answers.get(completion_id)


def is_callers(answer: RememberedAnswer | None, caller: Caller) -> bool:
    """Return whether there is an answer and the caller's key grants its tenant."""
    return answer is not None and caller.tenant in (None, answer.version.tenant)


def to_feedback(answer: RememberedAnswer | None, caller: Caller, feedback: FeedbackRequest) -> Feedback:
    """Return the caller's feedback with the version that answered.

    Raises:
        RefusalError: 404, there is no such answer or choice, or it is another tenant's.
    """
    if answer is None or not is_callers(answer, caller) or feedback.index >= len(answer.sources):
        got, fix = "an id or index that is not remembered", "send feedback soon after the answer"
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
