"""Accept feedback on an answer: check it, count it against the tenant's quota, save it.

Feedback is saved by threads of its own, in which tenants take turns, so a slow database delays only feedback. Knows the
protocol's data types and the store; does not know routes.
"""

import math
import time
from collections.abc import Callable

from components.config import Params
from components.data.schema import Example, find_problem
from components.rollout.store.feedback import Feedback, SaveResult, save_feedback
from components.serving.errors import RefusalError
from components.serving.http.answer_memory import AnswerMemory, RememberedAnswer, is_callers, to_feedback
from components.serving.http.answer_sharing import AnswerSharing
from components.serving.http.auth import Caller
from components.serving.http.openai import FeedbackRequest
from components.serving.http.quotas import Quotas
from components.serving.thread_pool import FairThreadPool
from components.storage.database import Database

_THREADS, _TENANT_THREADS = 4, 1
_REST_SECONDS = 0.1
"""After each saved feedback of a tenant while more of it waits: a flood leaves the interpreter to others' answers."""
_MAX_CALLS, _MAX_TENANT_CALLS = 256, 32
_CHARS_PER_TOKEN = 4
"""Of a correction, which is not tokenised: the quota of tokens counts this many characters as one."""
_RETRY_SECONDS = 60.0


class FeedbackDesk:
    """Accepts feedback; use it from one event loop."""

    def __init__(
        self,
        database: Database,
        answer_memory: AnswerMemory,
        answer_sharing: AnswerSharing,
        quotas: Quotas,
        get_tenant_params: Callable[[str], Params],
    ) -> None:
        self._get_tenant_params = get_tenant_params
        self._database, self._answer_memory, self._quotas = database, answer_memory, quotas
        self._answer_sharing = answer_sharing
        self._pool = FairThreadPool(
            "feedback",
            _THREADS,
            tenant_threads=_TENANT_THREADS,
            max_calls=_MAX_CALLS,
            max_tenant_calls=_MAX_TENANT_CALLS,
        )

    async def accept(self, caller: Caller, body: FeedbackRequest, *, is_counted: bool = False) -> None:
        """Save the caller's feedback. `is_counted`: the quota has this request already.

        Raises:
            RefusalError: 400, a correction that cannot become an example; 404, no such answer of the caller's; 409, the
                choice's correction is in the training data; 429, over quota, or too many corrections wait.
            BusyError: too much feedback of the tenant, or of all, waits to be saved.
            WorkspaceError: the database does not answer.
        """
        answer = await self._find_answer(caller, body)
        given, ticket = to_feedback(answer, caller, body), answer.ticket if answer else None
        params = self._get_tenant_params(given.tenant)
        _check_correction(given, params)
        tokens = math.ceil(len(given.corrected or "") / _CHARS_PER_TOKEN)
        await self._quotas.admit(given.tenant, tokens, requests=0 if is_counted else 1)
        max_waiting = params.access.max_waiting_corrections

        def save() -> SaveResult:
            result = save_feedback(self._database, given, counts="once", ticket=ticket, max_waiting=max_waiting)
            if self._pool.has_waiting(given.tenant):
                time.sleep(_REST_SECONDS)
            return result

        _require_saved(await self._pool.run(save, given.tenant), max_waiting)

    async def _find_answer(self, caller: Caller, body: FeedbackRequest) -> RememberedAnswer | None:
        """Return the answer from this server's memory, else from what all servers have written to the database."""
        answer = self._answer_memory.find(body.id)
        return answer if is_callers(answer, caller) else await self._answer_sharing.find(body.id)


def _check_correction(given: Feedback, params: Params) -> None:
    if given.corrected is None:
        return
    limit = params.data.max_reference_chars
    if len(given.corrected) > limit:
        wanted, fix = f"a text of at most {limit} characters (data.max_reference_chars)", "shorten the text"
        raise RefusalError(400, wanted, f"{len(given.corrected)} characters", fix, code="too_large")
    if reason := find_problem(Example(given.source or "", (given.corrected,)), params.data):
        fix = "send another text, or only a rating"
        raise RefusalError(400, "a correction that can be trained on", reason, fix, code="invalid_parameter")


def _require_saved(result: SaveResult, max_waiting: int) -> None:
    if result == "delivered":
        got = "a correction of this choice by this key, which is in the training data already"
        fix = "correct another answer"
        raise RefusalError(409, "the first correction of a choice, or one that is still waiting", got, fix)
    if result == "full":
        wanted = f"at most {max_waiting} corrections that wait for training (access.max_waiting_corrections)"
        fix = "send it after the next training, or ask your operator for a larger limit"
        raise RefusalError(429, wanted, "as many as that", fix, code="quota", retry_after=_RETRY_SECONDS)
